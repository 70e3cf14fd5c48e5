package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/human"
)

// removeDocuments decides on all blobs that nothing references, and removes the documents among them, by which others are
// found. The rest is noted.
func (g *collection) removeDocuments(ctx context.Context) error {
	entries, err := os.ReadDir(g.store.path(blobDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !g.chooseBlob(e) || g.o.DryRun {
			continue
		}
		if !isDocument(g.store.path(blobDir, e.Name())) {
			g.blobs = append(g.blobs, e.Name())
			continue
		}
		if err := g.removeBlob(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// chooseBlob decides on a file in the folder of blobs and says whether it goes.
func (g *collection) chooseBlob(e fs.DirEntry) bool {
	d := Digest(digestPrefix + e.Name())
	temp := strings.HasPrefix(e.Name(), ".tmp-")
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() || !temp && !d.Valid() || g.used.blobs[d] {
		return false
	}
	dec := Decision{Kind: "blob", Name: string(d), Reason: "nothing references it", Bytes: info.Size()}
	if temp {
		dec.Kind, dec.Name, dec.Reason = "temporary file", e.Name(), "a write that was cut left it"
	}
	if hex, damaged := strings.CutPrefix(e.Name(), damagedPrefix); damaged {
		dec.Kind, dec.Name, dec.Reason = "damaged blob", digestPrefix+hex, "its content was not that of its digest"
	}
	if dec.Keep = !info.ModTime().Before(g.young); dec.Keep {
		dec.Reason = "nothing references it, but it came less than " + human.Span(g.o.Grace) + " ago"
	}
	g.decideBlob(dec, d)
	return !dec.Keep
}

// isDocument says that a blob may be a manifest: it begins like a JSON object. A layer never does, but for a strange name.
func isDocument(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, 512)
	n, _ := io.ReadFull(f, head)
	return bytes.HasPrefix(bytes.TrimLeft(head[:n], " \t\r\n"), []byte("{"))
}

// removeBlobs removes the rest of what nothing references.
func (g *collection) removeBlobs(ctx context.Context) error {
	for _, name := range g.blobs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := g.removeBlob(name); err != nil {
			return err
		}
	}
	return atomicfile.SyncDir(g.store.path(blobDir))
}

func (g *collection) removeBlob(name string) error {
	if err := os.Remove(g.store.path(blobDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove blob %s: %w", name, err)
	}
	return nil
}

// decideBlob notes what becomes of a blob, unless an image's decision has told it.
func (g *collection) decideBlob(dec Decision, d Digest) {
	if !g.counted[d] {
		g.decide(dec)
	}
}
