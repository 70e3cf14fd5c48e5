package install

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/upper"
)

// Configured is the CreatedBy of the layer of what packages' scripts made. All files of the other layers come unchanged out
// of packages.
const Configured = debian.ConfiguredLayer

// capture makes the last layer of what scripts and dpkg changed.
func (s *stage) capture(ctx context.Context) (images.Layer, error) {
	list, err := upper.Read(ctx, s.upper, nil)
	if err != nil {
		return images.Layer{}, err
	}
	if list, err = s.normalise(list); err != nil {
		return images.Layer{}, err
	}
	w, err := upper.Write(ctx, s.o.Store, s.o.Epoch, list)
	if err != nil {
		return images.Layer{}, fmt.Errorf("capture changes: %w", err)
	}
	defer w.Abort()
	return w.Commit(Configured)
}

// normalise applies the rules to what was captured. A folder from which everything went, and which was there before, is
// left out with it.
func (s *stage) normalise(list []upper.Piece) ([]upper.Piece, error) {
	before := newView(s.lower())
	kept := list[:0:0]
	for _, p := range list {
		rule := ruleFor(p.Entry)
		switch {
		case rule == nil:
			kept = append(kept, p)
		case rule.do == drop || rule.do == prune:
		case rule.do == empty:
			p.Size, p.Open = 0, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("")), nil }
			kept = append(kept, p)
		case rule.do == rewrite:
			data, err := s.rewritten(rule, p, before)
			if err != nil {
				return nil, err
			}
			p.Size, p.Open = int64(len(data)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
			kept = append(kept, p)
		}
	}
	return mendLinks(list, withoutIdleFolders(kept, before)), nil
}

func (s *stage) rewritten(rule *rule, p upper.Piece, before *view) ([]byte, error) {
	r, err := p.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	old, err := before.content(p.Path)
	if err != nil {
		return nil, err
	}
	return rule.rewrite(data, old, s.o.Epoch), nil
}

// withoutIdleFolders leaves out folders that say nothing new: as before, and with nothing of the layer in them.
func withoutIdleFolders(list []upper.Piece, before *view) []upper.Piece {
	needed := map[string]bool{}
	for i := len(list) - 1; i >= 0; i-- {
		p := list[i]
		if p.Type == images.Dir && !needed[p.Path] {
			n := before.look(p.Path)
			if n.kind == dirNode && n.mode == p.Mode && n.uid == p.UID && n.gid == p.GID && len(p.Xattrs) == 0 {
				continue
			}
		}
		needed[p.Path] = true
		for dir := path.Dir(p.Path); !needed[dir]; dir = path.Dir(dir) {
			needed[dir] = true
		}
	}
	kept := list[:0:0]
	for _, p := range list {
		if needed[p.Path] {
			kept = append(kept, p)
		}
	}
	return kept
}

// mendLinks makes a file of a hard link whose file a rule took out.
func mendLinks(all, kept []upper.Piece) []upper.Piece {
	there := map[string]bool{}
	for _, p := range kept {
		there[p.Path] = true
	}
	source := map[string]upper.Piece{}
	for _, p := range all {
		if p.Type == images.File {
			source[p.Path] = p
		}
	}
	first := map[string]string{}
	for i := range kept {
		p := &kept[i]
		if p.Type != images.HardLink || there[p.Link] {
			continue
		}
		if at, ok := first[p.Link]; ok {
			p.Link = at
			continue
		}
		first[p.Link] = p.Path
		name := p.Path
		*p = source[p.Link]
		p.Path = name
	}
	return kept
}

// matches compares a path with a rule's pattern: that of path.Match, where /** at the end is all below.
func matches(pattern, name string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/**"); ok {
		depth := strings.Count(dir, "/") + 1
		parts := strings.SplitN(name, "/", depth+1)
		if len(parts) <= depth {
			return false
		}
		pattern, name = dir, strings.Join(parts[:depth], "/")
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}
