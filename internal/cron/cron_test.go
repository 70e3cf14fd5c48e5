package cron

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNext(t *testing.T) {
	for _, c := range []struct{ spec, after, want string }{
		{"*/5 * * * *", "2026-11-21 16:02:30", "2026-11-21 16:05:00"},
		{"*/5 * * * *", "2026-11-21 16:05:00", "2026-11-21 16:10:00"}, // after, never at
		{"*/5 * * * *", "2026-12-31 23:58:00", "2027-01-01 00:00:00"},
		{"0 3 * * *", "2026-11-21 03:00:00", "2026-11-22 03:00:00"},
		{"30 4 1,15 * 5", "2026-11-01 05:00:00", "2026-11-06 04:30:00"}, // either day: the 6th is a Friday
		{"30 4 */2 * 5", "2026-11-01 05:00:00", "2026-11-13 04:30:00"},  // begins with *: both, an odd day and a Friday
		{"0 0 29 2 *", "2026-01-01 00:00:00", "2028-02-29 00:00:00"},
		{"0 0 29 2 *", "2096-03-01 00:00:00", "2104-02-29 00:00:00"}, // 2100 has none
		{"0 0 31 * *", "2026-11-01 00:00:00", "2026-12-31 00:00:00"},
		{"0 9-17/4 * * mon-fri", "2026-11-20 17:30:00", "2026-11-23 09:00:00"},
		{"0 0 * * 7", "2026-11-21 00:00:00", "2026-11-22 00:00:00"},
		{"0 0 * * Sun", "2026-11-21 00:00:00", "2026-11-22 00:00:00"},
		{"5/20 * * * *", "2026-11-21 16:26:00", "2026-11-21 16:45:00"},
		{"@daily", "2026-11-21 16:00:00", "2026-11-22 00:00:00"},
		{"@hourly", "2026-11-21 16:00:00", "2026-11-21 17:00:00"},
		{"0 0 1 jan,jul *", "2026-02-01 00:00:00", "2026-07-01 00:00:00"},
	} {
		s, err := Parse(c.spec)
		if err != nil {
			t.Errorf("%s: %v", c.spec, err)
			continue
		}
		if got := s.Next(at(t, c.after)); !got.Equal(at(t, c.want)) {
			t.Errorf("%s after %s: %s, want %s", c.spec, c.after, got, c.want)
		}
	}
}

// Another zone is only another way to write the same moment.
func TestNextIsInUTC(t *testing.T) {
	s, err := Parse("0 3 * * *")
	if err != nil {
		t.Fatal(err)
	}
	east := time.FixedZone("east", 9*3600)
	got := s.Next(at(t, "2026-11-21 16:00:00").In(east))
	if want := at(t, "2026-11-22 03:00:00"); !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("next is %s, want %s", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	for spec, says := range map[string]string{
		"":                  "five fields",
		"* * * *":           "five fields",
		"* * * * * *":       "five fields",
		"60 * * * *":        `minute "60" must be a number from 0 to 59`,
		"* 24 * * *":        "hour",
		"* * 0 * *":         "day of the month",
		"* * * foo *":       "jan to dec",
		"* * * * 8":         "sun to sat",
		"*/0 * * * *":       "step",
		"*/+5 * * * *":      "step",
		"*/x * * * *":       "step",
		"9-5 * * * *":       "ends before it begins",
		"1,,2 * * * *":      "minute",
		"0 0 30 2 *":        "never comes",
		"0 0 31 4,6,9,11 *": "never comes",
		"@often":            "@hourly",
		"-1 * * * *":        "minute",
		"* * * ebf *":       "month",
	} {
		if _, err := Parse(spec); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want something of %q", spec, err, says)
		}
	}
}

// Next is the first minute that fits, by going through all of them.
func TestNextIsTheFirst(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		minute := rapid.SampledFrom([]string{"*", "*/7", "0", "59", "3,33", "10-20/3"}).Draw(r, "minute")
		hour := rapid.SampledFrom([]string{"*", "*/5", "0", "23", "1,13", "8-18"}).Draw(r, "hour")
		day := rapid.SampledFrom([]string{"*", "*/2", "1", "13", "28-31"}).Draw(r, "day")
		week := rapid.SampledFrom([]string{"*", "0", "7", "mon-fri", "5"}).Draw(r, "week")
		s, err := Parse(strings.Join([]string{minute, hour, day, "*", week}, " "))
		if err != nil {
			r.Fatal(err)
		}
		after := time.Unix(rapid.Int64Range(0, 4_000_000_000).Draw(r, "after"), 0).UTC()
		got := s.Next(after)
		for m := after.Truncate(time.Minute).Add(time.Minute); !m.Equal(got); m = m.Add(time.Minute) {
			if m.After(got) || s.minutes&(1<<m.Minute()) != 0 && s.hours&(1<<m.Hour()) != 0 && s.day(m) {
				r.Fatalf("after %s: %s, and %s fits too", after, got, m)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"*/5 * * * *", "@daily", "0 0 29 2 *", "1-5/2,7 * 1,2 jan mon"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		after := time.Unix(1_800_000_000, 0)
		if next := s.Next(after); !next.After(after) || next.Second() != 0 {
			t.Errorf("%q: next is %s", text, next)
		}
	})
}
