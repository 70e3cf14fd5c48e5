package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Age is a long time span. Its text form is a whole number of years, weeks or days ("1y", "2w", "90d"; a year is 365 days),
// or Go's ("36h").
type Age time.Duration

// day is the smallest unit that Go's durations do not have.
const day = 24 * time.Hour

// ages are the units besides Go's, by falling size.
func ages() []struct {
	name string
	size time.Duration
} {
	return []struct {
		name string
		size time.Duration
	}{{"y", 365 * day}, {"w", 7 * day}, {"d", day}}
}

// Std is the standard library's type.
func (a Age) Std() time.Duration { return time.Duration(a) }

// String is the text form.
func (a Age) String() string {
	for _, u := range ages() {
		if a > 0 && time.Duration(a)%u.size == 0 {
			return strconv.FormatInt(int64(time.Duration(a)/u.size), 10) + u.name
		}
	}
	return Duration(a).String()
}

// MarshalText gives the text form.
func (a Age) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the text form. Negative spans, and those that no clock counts, are errors.
func (a *Age) UnmarshalText(text []byte) error {
	bad := fmt.Errorf("%q is not a span of time such as 1y, 90d or 36h", text)
	for _, u := range ages() {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || n > math.MaxInt64/uint64(u.size) {
			return bad
		}
		*a = Age(time.Duration(n) * u.size)
		return nil
	}
	var d Duration
	if err := d.UnmarshalText(text); err != nil {
		return bad
	}
	*a = Age(d)
	return nil
}
