// Package cron reads the times of crontab(5) and says when one comes next. All times are in UTC, so no hour is left out and none
// comes twice.
//
// A schedule is five fields, minute (0-59), hour (0-23), day of the month (1-31), month (1-12 or jan-dec) and day of the week
// (0-7 or sun-sat; 0 and 7 are Sunday), or one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually. A field is a
// list of *, N, N-M, each with a step behind a slash. As in Vixie's cron a day fits when it fits the day of the month or the day
// of the week, if neither field begins with *, else both.
package cron

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Spec is a schedule: sets of the numbers that fit, a bit each.
type Spec struct {
	minutes, hours, days, months, weekdays uint64
	either                                 bool // of the two days one is enough
}

// field is what a field may have.
type field struct {
	name        string
	least, most int
	words       string // names of the numbers from least on, three letters each
}

var fields = [5]field{
	{"minute", 0, 59, ""}, {"hour", 0, 23, ""}, {"day of the month", 1, 31, ""},
	{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"}, {"day of the week", 0, 7, "sunmontuewedthufrisat"},
}

// macro is what a name stands for, "" for none.
func macro(name string) string {
	switch name {
	case "@hourly":
		return "0 * * * *"
	case "@daily", "@midnight":
		return "0 0 * * *"
	case "@weekly":
		return "0 0 * * 0"
	case "@monthly":
		return "0 0 1 * *"
	case "@yearly", "@annually":
		return "0 0 1 1 *"
	}
	return ""
}

// Parse reads a schedule. The error says which field is wrong, and what it takes.
func Parse(text string) (Spec, error) {
	parts := strings.Fields(strings.ToLower(text))
	if len(parts) == 1 && strings.HasPrefix(parts[0], "@") {
		if parts = strings.Fields(macro(parts[0])); len(parts) == 0 {
			return Spec{}, fmt.Errorf("%q is none of @hourly, @daily, @weekly, @monthly, @yearly", text)
		}
	}
	if len(parts) != len(fields) {
		return Spec{}, fmt.Errorf("%q must have five fields such as */5 * * * * (minute, hour, day, month, day of the week), or be one such as @daily", text)
	}
	var sets [5]uint64
	for i, part := range parts {
		set, err := fields[i].parse(part)
		if err != nil {
			return Spec{}, err
		}
		sets[i] = set
	}
	s := Spec{minutes: sets[0], hours: sets[1], days: sets[2], months: sets[3], weekdays: sets[4]}
	if s.weekdays&(1<<7) != 0 {
		s.weekdays |= 1
	}
	s.either = parts[2][0] != '*' && parts[4][0] != '*'
	if s.Next(time.Unix(0, 0)).IsZero() {
		return Spec{}, fmt.Errorf("%q names a day that never comes", text)
	}
	return s, nil
}

func (f field) parse(text string) (set uint64, err error) {
	for part := range strings.SplitSeq(text, ",") {
		some, err := f.part(part)
		if err != nil {
			return 0, err
		}
		set |= some
	}
	return set, nil
}

// part is one entry of a field's list.
func (f field) part(text string) (set uint64, err error) {
	span, steps, stepped := strings.Cut(text, "/")
	step := 1
	if stepped {
		if step, err = strconv.Atoi(steps); err != nil || step < 1 || step > f.most || steps[0] == '+' {
			return 0, fmt.Errorf("the step %q of the %s must be a number from 1 to %d", steps, f.name, f.most)
		}
	}
	from, to := f.least, f.most
	if first, last, ranged := strings.Cut(span, "-"); span != "*" {
		if from, err = f.number(first); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if to, err = f.number(last); err != nil {
				return 0, err
			}
		case !stepped:
			to = from
		}
	}
	if from > to {
		return 0, fmt.Errorf("the %s %q ends before it begins", f.name, span)
	}
	for n := from; n <= to; n += step {
		set |= 1 << n
	}
	return set, nil
}

func (f field) number(text string) (int, error) {
	if at := strings.Index(f.words, text); len(text) == 3 && at >= 0 && at%3 == 0 {
		return f.least + at/3, nil
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || int(n) < f.least || int(n) > f.most {
		names := ""
		if f.words != "" {
			names = fmt.Sprintf(", or %s to %s", f.words[:3], f.words[len(f.words)-3:])
		}
		return 0, fmt.Errorf("the %s %q must be a number from %d to %d%s", f.name, text, f.least, f.most, names)
	}
	return int(n), nil
}

// horizon is how many years may lie between two leap days of the same day of the week, over a year that is none, and one more.
const horizon = 41

// Next is the first time that fits after the one given, in UTC; zero when there is none.
func (s Spec) Next(after time.Time) time.Time {
	t := after.UTC().Truncate(time.Minute).Add(time.Minute)
	for last := t.Year() + horizon; t.Year() <= last; {
		y, m, d := t.Date()
		switch {
		case s.months&(1<<int(m)) == 0:
			t = time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC)
		case !s.day(t):
			t = time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
		case s.hours&(1<<t.Hour()) == 0:
			t = time.Date(y, m, d, t.Hour()+1, 0, 0, 0, time.UTC)
		default:
			if left := s.minutes >> t.Minute(); left != 0 {
				return t.Add(time.Duration(bits.TrailingZeros64(left)) * time.Minute)
			}
			t = time.Date(y, m, d, t.Hour()+1, 0, 0, 0, time.UTC)
		}
	}
	return time.Time{}
}

func (s Spec) day(t time.Time) bool {
	month, week := s.days&(1<<t.Day()) != 0, s.weekdays&(1<<int(t.Weekday())) != 0
	if s.either {
		return month || week
	}
	return month && week
}
