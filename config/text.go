package config

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span whose text form is Go's, without zero parts: "500ms", "1m30s", "15m".
type Duration time.Duration

// Std is the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String is the text form.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText gives the text form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text form. Negative spans are errors.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 500ms, 10s or 1m30s", text)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*d = Duration(v)
	return nil
}

// Bytes is an amount of memory or disk. Its text form is the largest binary unit that is exact: "512MiB".
type Bytes int64

type unit struct {
	name string
	size int64
}

// byteUnits has binary units first, by falling size, since these are what String uses.
func byteUnits() []unit {
	return []unit{
		{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
		{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
	}
}

// String is the text form.
func (b Bytes) String() string {
	for _, u := range byteUnits()[:4] {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// MarshalText gives the text form.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads a number with a unit (KiB, MiB, GiB, TiB, kB, MB, GB, TB, B); fractions such as 1.5GiB must be
// whole bytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	bad := fmt.Errorf("%q is not an amount such as 512MiB or 2GiB", text)
	for _, u := range byteUnits() {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		whole, fraction, dotted := strings.Cut(strings.TrimSpace(digits), ".")
		n, err := scaled(whole, u.size)
		if err != nil {
			return bad
		}
		if dotted {
			f, err := strconv.ParseFloat("0."+fraction, 64)
			if err != nil || fraction == "" || strings.Trim(fraction, "0123456789") != "" || f*float64(u.size) != math.Trunc(f*float64(u.size)) {
				return bad
			}
			n += int64(f * float64(u.size))
		}
		if n < 0 {
			return bad
		}
		*b = Bytes(n)
		return nil
	}
	return bad
}

func scaled(digits string, size int64) (int64, error) {
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, err
	}
	high, low := bits.Mul64(n, uint64(size))
	if high != 0 || low > math.MaxInt64 {
		return 0, strconv.ErrRange
	}
	return int64(low), nil
}

// Percent is a share from 0 to 100. Its text form is "1%" or "0.5%".
type Percent float64

// Share is the percentage as a fraction of one.
func (p Percent) Share() float64 { return float64(p) / 100 }

// String is the text form.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// MarshalText gives the text form.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text form.
func (p *Percent) UnmarshalText(text []byte) error {
	v, err := suffixed(string(text), "%")
	if err != nil || v > 100 {
		return fmt.Errorf("%q is not a percentage such as 1%% or 0.5%%", text)
	}
	*p = Percent(v)
	return nil
}

// Ratio is how many times as much. Its text form is "1.5x".
type Ratio float64

// String is the text form.
func (r Ratio) String() string { return strconv.FormatFloat(float64(r), 'f', -1, 64) + "x" }

// MarshalText gives the text form.
func (r Ratio) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the text form.
func (r *Ratio) UnmarshalText(text []byte) error {
	v, err := suffixed(string(text), "x")
	if err != nil {
		return fmt.Errorf("%q is not a ratio such as 1.5x", text)
	}
	*r = Ratio(v)
	return nil
}

// suffixed reads a plain decimal number, not negative, that ends in a unit.
func suffixed(text, unit string) (float64, error) {
	digits, ok := strings.CutSuffix(text, unit)
	if !ok || digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(digits, 64)
}
