package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// copyResult is the result of cp.
type copyResult struct {
	api.Head
	Node  string `json:"node"`
	From  string `json:"from"`
	To    string `json:"to"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
}

func (c *cli) cpVerb() *cobra.Command {
	return &cobra.Command{
		Use: "cp NODE:PATH [TO]", Short: "Copy a file or folder out of a node",
		Long: `Copies a file or folder out of a node, also one that is in quarantine or, where nodes are no machines, has ended, into the
folder TO (default: the present one) or under the name TO; - writes a tar archive to standard output. No program of the
image is run, and nothing is ever copied into a node: what would change one makes a new image.`,
		Example:           "  release cp k3f9q:/var/log/app.log\n  release cp k3f9q:/srv/data ./seen\n  release cp k3f9q:/srv - | tar -t",
		Args:              between(1, 2, "NODE:PATH"),
		ValidArgsFunction: c.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			node, from, ok := strings.Cut(args[0], ":")
			if !ok || node == "" || !path.IsAbs(from) || path.Clean(from) == "/" {
				return fault.New(fault.Invalid, "%s: %q is not NODE:PATH with an absolute path below /", cmd.CommandPath(), args[0]).
					WithHint("%s", cmd.UseLine())
			}
			to := "."
			if len(args) > 1 {
				to = args[1]
			}
			return c.copyOut(cmd.Context(), node, path.Clean(from), to)
		},
	}
}

func (c *cli) copyOut(ctx context.Context, node, from, to string) error {
	app, client, err := c.appIfUsed(ctx)
	if err != nil {
		return err
	}
	archive, err := client.CopyOut(ctx, appOf(app), node, from)
	if err != nil {
		return err
	}
	defer archive.Close()
	if to == "-" {
		c.out.finished = true // standard output is the archive's
		_, err := io.Copy(c.out.stdout, archive)
		return copyError(node, from, err)
	}
	r := copyResult{Head: api.NewHead(nil), Node: node, From: from, To: to}
	if err := r.unpack(archive); err != nil {
		return copyError(node, from, err)
	}
	return c.out.result(r, func(w io.Writer) {
		fmt.Fprintf(w, "%s, %s, in %s\n", human.Count(r.Files, "file"), size(r.Bytes), r.To)
	})
}

func copyError(node, from string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("copy %s out of %s: %w", from, node, err)
}

// unpack lays the archive out: into To when that is a folder, else under its name. What the node put into the archive leads
// nowhere else: all is opened below one folder.
func (r *copyResult) unpack(archive io.Reader) error {
	folder, name := r.To, path.Base(r.From)
	if info, err := os.Stat(r.To); errors.Is(err, fs.ErrNotExist) {
		folder, name = filepath.Dir(r.To), filepath.Base(r.To)
	} else if err == nil && !info.IsDir() {
		folder, name = filepath.Dir(r.To), filepath.Base(r.To)
	}
	r.To = filepath.Join(folder, name)
	if err := atomicfile.Replaceable(r.To); err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for in := tar.NewReader(archive); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.add(root, name, h, in); err != nil {
			return err
		}
	}
}

// renamed is an archive's entry under the name that its first one gets here.
func renamed(entry, name string) string {
	_, below, _ := strings.Cut(strings.TrimPrefix(entry, "/"), "/")
	return filepath.Join(name, filepath.FromSlash(below))
}

// add writes one entry. Files belong to who copies them; set-user-id and the like are left out.
func (r *copyResult) add(root *os.Root, under string, h *tar.Header, content io.Reader) error {
	name := renamed(h.Name, under)
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeReg, tar.TypeSymlink, tar.TypeLink:
	default:
		return nil // nothing else has content
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.Files++
	switch h.Typeflag {
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(renamed(h.Linkname, under), name)
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode).Perm()|0o200)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, content)
	r.Bytes += n
	return errors.Join(err, f.Close())
}
