package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/screen"
)

// transferView shows the blobs of a push or pull. Its events come one at a time.
type transferView struct {
	out    *output
	screen *screen.Screen // nil when progress is lines
	moving map[images.Digest]images.Transfer
	done   map[images.Digest]bool
}

// transferEvent is a blob that is done, with --json.
type transferEvent struct {
	Type  string    `json:"type"` // blob.moved, blob.there, blob.mounted
	At    time.Time `json:"at"`
	Blob  string    `json:"blob"`
	Bytes int64     `json:"bytes"`
}

func (o *output) newTransferView() *transferView {
	v := &transferView{out: o, moving: map[images.Digest]images.Transfer{}, done: map[images.Digest]bool{}}
	if o.live() {
		v.screen = o.screen()
	}
	return v
}

func (v *transferView) event(t images.Transfer) {
	if t.State == "moving" {
		v.moving[t.Blob] = t
		v.draw()
		return
	}
	delete(v.moving, t.Blob)
	if v.done[t.Blob] {
		return
	}
	v.done[t.Blob] = true
	line := fmt.Sprintf("%s  %9s  %s", t.Blob.Short(), size(t.Size), map[string]string{
		"moved": "moved", "there": "is there", "mounted": "is in another repository there"}[t.State])
	switch {
	case v.out.json:
		_ = v.out.event(transferEvent{Type: "blob." + t.State, At: time.Now(), Blob: string(t.Blob), Bytes: t.Size})
	case v.screen != nil:
		v.screen.Print("  " + v.out.green("✓") + " " + line)
		v.draw()
	default:
		v.out.progress("%s", line)
	}
}

func (v *transferView) draw() {
	if v.screen == nil {
		return
	}
	var lines []string
	for _, d := range slices.Sorted(maps.Keys(v.moving)) {
		t := v.moving[d]
		lines = append(lines, fmt.Sprintf("  … %s  %9s of %s", d.Short(), size(t.Moved), size(t.Size)))
	}
	v.screen.Update(lines)
}

func (v *transferView) close() {
	if v.screen != nil {
		v.screen.Close(false)
	}
}
