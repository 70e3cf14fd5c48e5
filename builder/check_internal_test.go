package builder

import (
	"strings"
	"testing"

	"github.com/bootandshoot/release/images"
)

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
		diffs, err := compareBakes(store, c.a, c.b)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range diffs {
			got = append(got, d.String())
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
