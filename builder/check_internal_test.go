package builder

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bootandshoot/release/images"
)

// differences is what is told of two bakes.
func differences(t *testing.T, store *images.Store, a, b made) string {
	t.Helper()
	diffs, err := compareBakes(store, a, b)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, d := range diffs {
		told = append(told, d.String())
	}
	return strings.Join(told, "; ")
}

// A Debian base is several layers: what differs in any of them is a difference.
func TestCompareStepsOfSeveralLayers(t *testing.T) {
	store, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	layer := func(names ...string) images.Digest {
		w, err := store.NewLayer(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := w.Add(images.Entry{Path: name, Mode: 0o644}, strings.NewReader("")); err != nil {
				t.Fatal(err)
			}
		}
		l, err := w.Commit("test")
		if err != nil {
			t.Fatal(err)
		}
		return l.Digest
	}
	same, one, other := layer("a"), layer("b"), layer("b", "c")
	step := func(layers ...images.Digest) made {
		return made{result: Result{Steps: []StepResult{{Name: "base", Layers: layers}}}}
	}
	for _, c := range []struct {
		a, b made
		want string
	}{
		{step(same, one), step(same, one), ""},
		{step(same, one), step(same, other), "/c: only in the second (base)"},
		{step(same, one), step(same), "/b: only in the first (base)"},
		{step(), step(same), "/a: only in the second (base)"},
	} {
		if got := differences(t, store, c.a, c.b); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// Two machines of the same layers differ in a part of their own: each is named, and where it begins.
func TestCompareMachines(t *testing.T) {
	store, err := images.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	blob := func(text string) images.Descriptor {
		d, err := store.WriteBlob(t.Context(), bytes.NewReader([]byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	machine := func(kernel, disk, cmdline string) made {
		return made{machine: &images.Machine{Cmdline: cmdline, Kernel: blob(kernel), Initrd: blob("initrd"), Disk: images.MachineDisk{Descriptor: blob(disk)}}}
	}
	one := machine("kernel", "the disk", "quiet")
	for _, c := range []struct {
		b    made
		want string
	}{
		{machine("kernel", "the disk", "quiet"), ""},
		{machine("kernel", "the disc", "quiet"), "disk: content, first at byte 7 (machine)"},
		{machine("kernel", "the disk is longer", "quiet"), "disk: content, first at byte 8 (machine)"},
		{machine("Kernel", "the disk", "loud"), "command line: content (machine); kernel: content, first at byte 0 (machine)"},
	} {
		if got := differences(t, store, one, c.b); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
