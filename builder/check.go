package builder

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/pause"
)

// Difference is a path that came out differently in two bakes of the same inputs.
type Difference struct {
	Step string `json:"step"`
	Path string `json:"path"` // absolute in the image; else the part of its machine: kernel, initrd, command line, disk
	What string `json:"what"` // "content", "mode", "owner", …, "only in the first", "only in the second"
}

// String is the difference in a line.
func (d Difference) String() string { return fmt.Sprintf("%s: %s (%s)", d.Path, d.What, d.Step) }

// Check bakes twice, every step anew, and names what differs. It lists no image. Run steps that read the clock are
// found out by a second that passes between the two, and so are scripts of packages. A machine's disk is made twice, too, and not
// booted.
func Check(ctx context.Context, o Options) ([]Difference, error) {
	o.NoCache = true
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	started := time.Now()
	first, err := checkBake(ctx, o)
	if err != nil {
		return nil, err
	}
	if NeedsRoot(o.Recipe) {
		if err := pause.For(ctx, time.Until(started.Add(1100*time.Millisecond))); err != nil {
			return nil, err
		}
	}
	second, err := checkBake(ctx, o)
	if err != nil {
		return nil, err
	}
	return compareBakes(o.Store, first, second)
}

func checkBake(ctx context.Context, o Options) (made, error) {
	b, err := newBake(o)
	if err != nil {
		return made{}, err
	}
	defer b.close()
	m, err := b.run(ctx)
	if err == nil && o.Machine != nil {
		err = b.machine(ctx, &m)
	}
	return m, err
}

// compareBakes compares step by step, and then the machines: what differs in a layer differs on the disk, which would say it again.
func compareBakes(s *images.Store, a, b made) ([]Difference, error) {
	var list []Difference
	for i, step := range a.result.Steps {
		found, err := compareSteps(s, step.made(), b.result.Steps[i].made())
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			d.Step = step.Name
			list = append(list, d)
		}
	}
	if len(list) > 0 || a.machine == nil {
		return list, nil
	}
	return compareMachines(s, *a.machine, *b.machine)
}

// compareMachines compares the parts of two machines of the same image.
func compareMachines(s *images.Store, a, b images.Machine) (list []Difference, err error) {
	add := func(part, what string) { list = append(list, Difference{Step: machineStep, Path: part, What: what}) }
	if a.Cmdline != b.Cmdline {
		add("command line", "content")
	}
	for _, part := range []struct {
		name string
		a, b images.Digest
	}{{"kernel", a.Kernel.Digest, b.Kernel.Digest}, {"initrd", a.Initrd.Digest, b.Initrd.Digest}, {"disk", a.Disk.Digest, b.Disk.Digest}} {
		if part.a == part.b {
			continue
		}
		at, err := firstDifference(s.BlobPath(part.a), s.BlobPath(part.b))
		if err != nil {
			return nil, fmt.Errorf("compare the %s of two machines: %w", part.name, err)
		}
		add(part.name, fmt.Sprintf("content, first at byte %d", at))
	}
	return list, nil
}

// firstDifference is where two files that are not the same begin to differ; one may be the beginning of the other.
func firstDifference(a, b string) (at int64, err error) {
	var in [2]*bufio.Reader
	for i, name := range []string{a, b} {
		f, err := os.Open(name)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		in[i] = bufio.NewReaderSize(f, 1<<20)
	}
	for ; ; at++ {
		x, errA := in[0].ReadByte()
		y, errB := in[1].ReadByte()
		if x != y || errA != nil || errB != nil {
			if errors.Is(errA, io.EOF) || errors.Is(errB, io.EOF) {
				return at, nil
			}
			return at, errors.Join(errA, errB)
		}
	}
}

// made is all layers of a step, lowest first.
func (r StepResult) made() []images.Digest {
	if r.Layer == "" {
		return r.Layers
	}
	return []images.Digest{r.Layer}
}

// compareSteps compares what two bakes made of one step. A layer that only one of them has is compared with nothing.
func compareSteps(s *images.Store, a, b []images.Digest) ([]Difference, error) {
	var list []Difference
	for i := range max(len(a), len(b)) {
		var first, second images.Digest
		if i < len(a) {
			first = a[i]
		}
		if i < len(b) {
			second = b[i]
		}
		if first == second {
			continue
		}
		found, err := compareLayers(s, first, second)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

// compareLayers compares the entries of two layers; "" is one without entries.
func compareLayers(s *images.Store, a, b images.Digest) ([]Difference, error) {
	first, err := entries(s, a)
	if err != nil {
		return nil, err
	}
	second, err := entries(s, b)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(first))
	for name := range second {
		if _, ok := first[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var list []Difference
	for _, name := range names {
		f, inFirst := first[name]
		g, inSecond := second[name]
		what := ""
		switch {
		case !inSecond:
			what = "only in the first"
		case !inFirst:
			what = "only in the second"
		default:
			what = f.differs(g)
		}
		if what != "" {
			list = append(list, Difference{Path: "/" + strings.TrimSuffix(name, "/"), What: what})
		}
	}
	return list, nil
}

// entry is a layer's entry with the hash of its content.
type entry struct {
	h   *tar.Header
	sum images.Digest
}

func (e entry) differs(o entry) string {
	var what []string
	add := func(differs bool, name string) {
		if differs {
			what = append(what, name)
		}
	}
	add(e.h.Typeflag != o.h.Typeflag, "type")
	add(e.sum != o.sum, "content")
	add(e.h.Mode != o.h.Mode, "mode")
	add(e.h.Uid != o.h.Uid || e.h.Gid != o.h.Gid, "owner")
	add(e.h.Linkname != o.h.Linkname, "link")
	add(!maps.Equal(e.h.PAXRecords, o.h.PAXRecords), "attributes")
	return strings.Join(what, ", ")
}

func entries(s *images.Store, layer images.Digest) (map[string]entry, error) {
	all := map[string]entry{}
	if layer == "" {
		return all, nil
	}
	f, err := s.OpenBlob(layer)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read layer %s: %w", layer, err)
		}
		sum, err := hashOf(tr)
		if err != nil {
			return nil, fmt.Errorf("read layer %s: %w", layer, err)
		}
		all[h.Name] = entry{h, sum}
	}
}
