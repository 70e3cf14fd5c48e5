package install

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/debian/archive/archivetest"
	"github.com/bootandshoot/release/images"
)

func (s system) options(items []Item) Options {
	return Options{Store: s.store, Work: s.work, Arch: archivetest.Arch(), Epoch: testEpoch, Batches: [][]Item{items}}
}

// begin begins an installation whose system is not known; at the end of the test nothing may be left of it.
func (s system) begin(t *testing.T, ctx context.Context, o Options) *Early {
	t.Helper()
	e, err := Begin(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		if left, err := os.ReadDir(s.work); err != nil || len(left) > 0 {
			t.Errorf("the work folder holds %v, %v", left, err)
		}
	})
	return e
}

// What was unpacked before the system was known is the same as what is unpacked on it: names lead through links of the system,
// and of a merged /usr, that were not there to be seen.
func TestEarlyIsTheSame(t *testing.T) {
	s := base(t)
	links, err := s.on(t, items(t, made{name: "links", files: []tar.Header{dir("opt/real", 0o750), symlink("opt/link", "real")}}))
	if err != nil {
		t.Fatal(err)
	}
	s.layers = slices.Concat(s.layers, links)
	list := items(t,
		made{name: "through", files: []tar.Header{dir("opt/link", 0o755), file("opt/link/deep/made", "x"), file("opt/link/made", "y"),
			file("bin/through", "z"), {Typeflag: tar.TypeLink, Name: "./opt/link/linked", Linkname: "./opt/link/made"}}},
		made{name: "straight", files: []tar.Header{dir("opt/real", 0o755), file("opt/real/straight", noise()), file("usr/bin/straight", "z")},
			control: map[string]string{"postinst": script("cat /opt/real/made /bin/through > /opt/seen")}})
	want, err := s.on(t, list)
	if err != nil {
		t.Fatal(err)
	}
	var told []Event
	o := s.options(list)
	o.Progress = func(e Event) { told = append(told, e) }
	e := s.begin(t, t.Context(), o)
	<-e.opened
	<-e.s.unpacking.done
	if len(told) > 0 {
		t.Errorf("before its turn it told %v", told)
	}
	got, err := e.Finish(t.Context(), s.layers)
	if err != nil {
		t.Fatal(err)
	}
	if len(told) == 0 {
		t.Error("it told nothing")
	}
	digests := func(layers []images.Layer) (list []images.Digest) {
		for _, l := range layers {
			list = append(list, l.Digest)
		}
		return list
	}
	if !slices.Equal(digests(got), digests(want)) {
		t.Errorf("early %v, else %v", digests(got), digests(want))
	}
	const look = "cd /opt && find . /usr/bin/through /usr/bin/straight -printf '%p %y %m %l\n' | sort && cat seen real/deep/made && test real/made -ef link/linked"
	if early, other := s.shell(t, slices.Concat(s.layers, got), look), s.shell(t, slices.Concat(s.layers, want), look); early != other || !strings.Contains(early, "yzx") {
		t.Errorf("early:\n%s\nelse:\n%s", early, other)
	}
}

// Errors wait until it is the installation's turn, and nobody need ask for them.
func TestEarlyErrors(t *testing.T) {
	s := base(t)
	whole := made{name: "whole", files: []tar.Header{file("opt/made", noise())}}
	data := whole.deb(t)
	cut := []Item{{Package: whole.item(t).Package, File: save(t, "cut", data[:len(data)-100])}}
	t.Run("a truncated package", func(t *testing.T) {
		_, err := s.begin(t, t.Context(), s.options(cut)).Finish(t.Context(), s.layers)
		if err == nil || !strings.Contains(err.Error(), "package whole") {
			t.Error(err)
		}
	})
	t.Run("a file that is gone", func(t *testing.T) {
		_, err := s.begin(t, t.Context(), s.options([]Item{{Package: whole.item(t).Package, File: "/nowhere/whole.deb"}})).Finish(t.Context(), s.layers)
		if !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("a package that is there already", func(t *testing.T) {
		_, err := s.begin(t, t.Context(), s.options(s.items[:1])).Finish(t.Context(), s.layers)
		if err == nil || !strings.Contains(err.Error(), "installed already") {
			t.Error(err)
		}
	})
	t.Run("on nothing", func(t *testing.T) {
		if _, err := s.begin(t, t.Context(), s.options(cut)).Finish(t.Context(), nil); err == nil {
			t.Error("installed")
		}
	})
	t.Run("nobody asks", func(t *testing.T) { s.begin(t, t.Context(), s.options(cut)) })
	t.Run("nobody waits", func(t *testing.T) { s.begin(t, t.Context(), s.options(s.items)).Close() })
}

// A bake that is interrupted ends at once, however far each stage is, and leaves nothing.
func TestEarlyInterrupted(t *testing.T) {
	s := base(t)
	t.Run("while it unpacks", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		e := s.begin(t, ctx, s.options(s.items)) // as many as there are
		cancel()
		if _, err := e.Finish(ctx, s.layers); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("while a script runs", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o := s.options(items(t, made{name: "slow", control: map[string]string{"postinst": script("echo asleep; exec sleep 3600")}}))
		o.Progress = func(e Event) {
			if e.Line == "asleep" {
				cancel()
			}
		}
		if _, err := s.begin(t, ctx, o).Finish(ctx, s.layers); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
