package secrets

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Layer finds the secrets in a layer: an uncompressed tar. Content of a file that has several names counts once, under
// the first. What r can seek over is not read.
func (s *Scanner) Layer(ctx context.Context, r io.Reader) ([]Finding, error) {
	w := s.newWindow()
	var list []Finding
	folders := map[string]bool{}
	tr := tar.NewReader(r)
	for ctx.Err() == nil {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("search layer for secrets: %w", err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if at := inGit(name); at != "" && !folders[at] {
			folders[at] = true
			list = append(list, Finding{Rule: gitFolder, Path: "/" + at, Count: 1})
		}
		if h.Typeflag != tar.TypeReg || h.Size == 0 {
			continue
		}
		found, err := w.file(name, tr)
		if err != nil {
			return nil, fmt.Errorf("search layer for secrets: %s: %w", h.Name, err)
		}
		list = append(list, found...)
	}
	return nil, ctx.Err()
}

// inGit is the .git folder that a file lies in, "" for none. A file named .git only points to one.
func inGit(name string) string {
	if rest, ok := strings.CutPrefix(name, ".git/"); ok && rest != "" {
		return ".git"
	}
	if i := strings.Index(name, "/.git/"); i >= 0 {
		return name[:i+len("/.git")]
	}
	return ""
}
