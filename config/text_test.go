package config_test

import (
	"encoding"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bootandshoot/release/config"
)

func TestTextForms(t *testing.T) {
	for _, c := range []struct {
		value encoding.TextMarshaler
		want  string
	}{
		{config.Duration(0), "0s"}, {config.Duration(500 * time.Millisecond), "500ms"}, {config.Duration(90 * time.Second), "1m30s"},
		{config.Duration(15 * time.Minute), "15m"}, {config.Duration(2 * time.Hour), "2h"}, {config.Duration(10 * time.Second), "10s"},
		{config.Duration(time.Hour + time.Second), "1h0m1s"}, {config.Duration(10 * time.Minute), "10m"},
		{config.Age(365 * 24 * time.Hour), "1y"}, {config.Age(90 * 24 * time.Hour), "90d"}, {config.Age(14 * 24 * time.Hour), "2w"}, {config.Age(36 * time.Hour), "36h"},
		{config.Bytes(0), "0B"}, {config.Bytes(512 << 20), "512MiB"}, {config.Bytes(1536 << 20), "1536MiB"}, {config.Bytes(1000), "1000B"}, {config.Bytes(3 << 40), "3TiB"},
		{config.Percent(1), "1%"}, {config.Percent(0.25), "0.25%"}, {config.Ratio(1.5), "1.5x"}, {config.PortRange{First: 20000, Last: 29999}, "20000-29999"},
	} {
		if got, err := c.value.MarshalText(); err != nil || string(got) != c.want {
			t.Errorf("%v: got %s, %v; want %s", c.value, got, err, c.want)
		}
	}
}

func TestReadText(t *testing.T) {
	var b config.Bytes
	for text, want := range map[string]int64{
		"0B": 0, "1kB": 1000, "1KB": 1000, "1KiB": 1024, "1.5GiB": 1610612736, "2 MB": 2e6, "0.5KiB": 512, "8191TiB": 8191 << 40,
	} {
		if err := b.UnmarshalText([]byte(text)); err != nil || int64(b) != want {
			t.Errorf("%s: got %d, %v", text, b, err)
		}
	}
	for _, text := range []string{"", "5", "B", "-1B", "1.5B", "1e3B", "0.3KiB", "99999999TiB", "1.KiB", "1..5GiB", "1XiB", "+1B", "0.1e1KiB"} {
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: taken as %d", text, b)
		}
	}
	bad := map[encoding.TextUnmarshaler][]string{
		new(config.Duration):  {"", "1", "-1s", "1d", "x"},
		new(config.Age):       {"", "1", "-1d", "1.5d", "y", "1month", "999999999y"},
		new(config.Percent):   {"", "1", "%", "-1%", "101%", "1e1%", "NaN%", "1.2.3%"},
		new(config.Ratio):     {"", "1", "x", "-1x", "Infx"},
		new(config.PortRange): {"", "1-2", "30000", "30000-20000", "2000-70000", "a-b"},
		new(config.Subnet):    {"", "10.0.0.0", "10.0.0.1/16", "10.0.0.0/8", "10.0.0.0/30", "fd00::/64"},
	}
	for into, texts := range bad {
		for _, text := range texts {
			if err := into.UnmarshalText([]byte(text)); err == nil {
				t.Errorf("%T: %q was taken", into, text)
			}
		}
	}
}

// Every value is read back from its text.
func TestTextRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := config.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration"))
		if rapid.Bool().Draw(t, "round") {
			d = d / config.Duration(time.Minute) * config.Duration(time.Minute)
		}
		roundTrip(t, d, new(config.Duration))
		roundTrip(t, config.Bytes(rapid.Int64Range(0, math.MaxInt64).Draw(t, "bytes")), new(config.Bytes))
		roundTrip(t, config.Percent(rapid.Float64Range(0, 100).Draw(t, "percent")), new(config.Percent))
		roundTrip(t, config.Ratio(rapid.Float64Range(0, 1e6).Draw(t, "ratio")), new(config.Ratio))
	})
}

func roundTrip[T comparable, P interface {
	*T
	encoding.TextUnmarshaler
}](t *rapid.T, v T, into P) {
	text, err := any(v).(encoding.TextMarshaler).MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if err := into.UnmarshalText(text); err != nil || *into != v {
		t.Fatalf("%v became %s became %v, %v", v, text, *into, err)
	}
}
