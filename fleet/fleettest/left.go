package fleettest

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
)

// Kept is fleet.Tails in memory.
type Kept struct {
	mu   sync.Mutex
	text map[string]string
	kind map[string]fleet.Kind
}

// Keep implements fleet.Tails.
func (k *Kept) Keep(id fleet.NodeID, kind fleet.Kind, lines io.Reader) error {
	b, err := io.ReadAll(lines)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(b) > 0 {
		if k.text == nil {
			k.text, k.kind = map[string]string{}, map[string]fleet.Kind{}
		}
		k.text[id.Node], k.kind[id.Node] = string(b), kind
	}
	return err
}

// Of is what was kept of a node.
func (k *Kept) Of(node string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.text[node]
}

// KindOf is what kind of node it was kept of.
func (k *Kept) KindOf(node string) fleet.Kind {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kind[node]
}

// What a node printed outlives it, whether it is removed, has ended before, or is destroyed with its fleet; what it prints
// when it is asked to stop too.
func (s *suite) tails(t *testing.T) {
	if s.Keeping == nil {
		t.Log("the driver keeps no output of nodes that are gone")
		return
	}
	kept := &Kept{}
	d := s.Keeping(t, kept)
	l, ok := d.(fleet.Logger)
	if !ok {
		t.Fatal("a driver that keeps the output of nodes must show it")
	}
	spec, nodes := s.boot(t, d, 3)
	for _, n := range nodes {
		say(t, l, n, "err", "said by "+n.ID.Node)
	}
	if err := d.Remove(t.Context(), nodes[1].ID, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	end(nodes[0], "1")
	s.gone(t, d, spec.Fleet)
	if err := d.Remove(t.Context(), nodes[0].ID, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := d.Destroy(t.Context(), spec.Fleet); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if text := kept.Of(n.ID.Node); !strings.Contains(text, " err said by "+n.ID.Node+"\n") {
			t.Errorf("kept of %s: %q", n.ID.Node, text)
		}
		if kind := kept.KindOf(n.ID.Node); kind != spec.Kind {
			t.Errorf("kept of %s as of the kind %q", n.ID.Node, kind)
		}
	}
	if text := kept.Of(nodes[1].ID.Node); !strings.Contains(text, " out stopping\n") {
		t.Errorf("kept of a node that was stopped: %q", text)
	}
	if err := d.Remove(t.Context(), nodes[1].ID, 0); err != nil || kept.Of(nodes[1].ID.Node) == "" {
		t.Errorf("removed again: %v, kept is %q", err, kept.Of(nodes[1].ID.Node))
	}
}

// copied reads an archive: content by name, links as "-> target", folders as "/".
func copied(t *testing.T, x fleet.Copier, id fleet.NodeID, path string) map[string]string {
	t.Helper()
	r, err := x.CopyOut(t.Context(), id, path)
	if err != nil {
		t.Fatalf("copy %s: %v", path, err)
	}
	defer r.Close()
	files := map[string]string{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatalf("copy %s: %v", path, err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatalf("copy %s: %v", path, err)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			files[h.Name] = "/"
		case tar.TypeSymlink:
			files[h.Name] = "-> " + h.Linkname
		default:
			files[h.Name] = string(content)
		}
	}
}

// Files are read out of a node as it sees them, also when it has ended, and whatever programs its image has.
func (s *suite) copyOut(t *testing.T) {
	d := s.New(t)
	x, ok := d.(fleet.Copier)
	if !ok {
		t.Log("the driver does not read files of nodes")
		return
	}
	spec, nodes := s.boot(t, d, 1)
	ask(t, nodes[0], "/write", "path", "/made/by/node", "text", "its file")
	ask(t, nodes[0], "/link", "path", "/made/link", "to", "/made/by/node")
	for range 2 { // while it runs, and when it has ended
		want := map[string]string{"made/": "/", "made/by/": "/", "made/by/node": "its file", "made/link": "-> /made/by/node"}
		if got := copied(t, x, nodes[0].ID, "/made"); !maps.Equal(got, want) {
			t.Errorf("a folder: %v, want %v", got, want)
		}
		if got := copied(t, x, nodes[0].ID, "/made/link"); len(got) != 1 || got[slices.Collect(maps.Keys(got))[0]] != "its file" {
			t.Errorf("through a link: %v", got)
		}
		if got := copied(t, x, nodes[0].ID, "/testnode"); len(got["testnode"]) < 100_000 {
			t.Errorf("a file of the image: %d bytes", len(got["testnode"]))
		}
		if _, err := x.CopyOut(t.Context(), nodes[0].ID, "/none/there"); !fault.Is(err, fault.NotFound) {
			t.Errorf("a file that is not there: %v", err)
		}
		if nodes[0].Presence == fleet.Present {
			end(nodes[0], "0")
			nodes[0] = s.gone(t, d, spec.Fleet)
			if s.Forgets {
				break
			}
		}
	}
	if s.Forgets {
		if _, err := x.CopyOut(t.Context(), nodes[0].ID, "/made"); !errors.Is(err, fleet.ErrNoNode) {
			t.Errorf("of a node that has ended: %v", err)
		}
	}
	if _, err := x.CopyOut(context.WithoutCancel(t.Context()), fleet.NodeID{Fleet: spec.Fleet, Node: "never-there"}, "/made"); !errors.Is(err, fleet.ErrNoNode) {
		t.Errorf("of no node: %v", err)
	}
}
