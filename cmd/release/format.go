package main

import (
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/human"
)

// size is an amount of bytes for people.
func size(n int64) string { return human.Size(n) }

// span is a length of time for people.
func span(d time.Duration) string { return human.Span(d) }

// seconds is a number of seconds as a length of time.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// shortDigest is the first twelve digits of a digest.
func shortDigest(d string) string {
	h := strings.TrimPrefix(d, "sha256:")
	return h[:min(12, len(h))]
}

// table aligns rows in columns two spaces apart. Cells may hold colours: shown is what is printed, text what counts.
type table struct {
	rows  [][]cell
	notes map[int][]string // below the row of that number, in no column
}

type cell struct{ text, shown string }

func plain(s string) cell { return cell{s, s} }

func (t *table) row(cells ...cell) { t.rows = append(t.rows, cells) }

// note puts a line below the last row, a little to the right.
func (t *table) note(line string) {
	if t.notes == nil {
		t.notes = map[int][]string{}
	}
	t.notes[len(t.rows)-1] = append(t.notes[len(t.rows)-1], line)
}

func (t *table) lines(indent string) []string {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(c.text)))
		}
	}
	var out []string
	for n, r := range t.rows {
		line := indent
		for i, c := range r {
			line += pad(c.text, c.shown, widths[i]) + "  "
		}
		out = append(out, strings.TrimRight(line, " "))
		for _, note := range t.notes[n] {
			out = append(out, indent+"  "+note)
		}
	}
	return out
}
