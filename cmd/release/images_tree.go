package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/diff"
	"github.com/bootandshoot/release/internal/fault"
)

// treeResult is the result of images tree.
type treeResult struct {
	api.Head
	Image   string         `json:"image"`
	Path    string         `json:"path"` // where the tree begins
	Entries []treeEntry    `json:"entries"`
	Layers  []layerDetails `json:"layers"` // lowest first; an entry's layer is a place in this list
}

type treeEntry struct {
	Path   string `json:"path"`
	Type   string `json:"type"` // file, folder, link, device, pipe
	Mode   string `json:"mode"` // octal, four digits
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Size   int64  `json:"size"` // bytes of a file; of a folder those of all files below
	Link   string `json:"link,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Layer  int    `json:"layer"` // that brought the name; -1 when no layer names the folder
}

// treeDepth is how deep a tree goes unless it is said.
const treeDepth = 2

func (c *cli) imagesTree() *cobra.Command {
	var depth int
	cmd := &cobra.Command{
		Use: "tree IMAGE [PATH]", Short: "Show the files of an image, with the layer that brought each",
		Example: "  release images tree shop\n  release images tree r8 /etc/nginx --depth 0",
		Args:    between(1, 2, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if depth < 0 {
				return fault.New(fault.Invalid, "read --depth: %d is negative", depth)
			}
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			files, err := store.Files(cmd.Context(), digest)
			if err != nil {
				return ended(cmd.Context(), err)
			}
			top := files.Root()
			if len(args) > 1 {
				if top, err = files.Resolve(args[1]); err != nil {
					return missingInImage(args[0], err)
				}
			}
			t := treeWalk{limit: depth, layers: map[int]bool{}}
			t.walk(top, 0, "", "")
			r := treeResult{Head: api.NewHead(nil), Image: string(digest), Path: rooted(top), Entries: t.entries, Layers: detailsOf(digest, files.Image).Layers}
			return c.out.result(r, func(w io.Writer) { t.write(w, r) })
		},
	}
	cmd.Flags().IntVar(&depth, "depth", treeDepth, "how many folders deep; 0 is all")
	return cmd
}

// missingInImage says what to do about a path that an image has not.
func missingInImage(image string, err error) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "look into image %s: %w", image, err).WithHint("release images tree %s shows what is there", image)
	}
	return err
}

func rooted(n *images.ImageFile) string { return "/" + strings.TrimPrefix(n.Path, ".") }

// treeWalk collects a tree, and how it is drawn.
type treeWalk struct {
	limit   int
	entries []treeEntry
	drawn   []string
	layers  map[int]bool // that brought something, shown or not
}

// walk adds a name and what is below it, and gives the bytes of all files in it.
func (t *treeWalk) walk(n *images.ImageFile, depth int, lead, below string) int64 {
	at := len(t.entries)
	t.layers[n.Layer] = true
	e := treeEntry{Path: rooted(n), Type: diff.TypeName(n.Type), Mode: fmt.Sprintf("%04o", n.Mode), UID: n.UID, GID: n.GID,
		Size: n.Size, SHA256: n.Content.Hex(), Layer: n.Layer}
	name := n.Path[strings.LastIndex(n.Path, "/")+1:]
	if depth == 0 {
		name = e.Path
	}
	if n.Type == images.Symlink {
		e.Link, name = n.Link, name+" → "+n.Link
	}
	shown := t.limit == 0 || depth <= t.limit
	if shown {
		t.entries, t.drawn = append(t.entries, e), append(t.drawn, lead+name)
	}
	children := n.Children()
	total := n.Size
	for i, c := range children {
		branch, further := "├── ", "│   "
		if i == len(children)-1 {
			branch, further = "└── ", "    "
		}
		total += t.walk(c, depth+1, below+branch, below+further)
	}
	if shown {
		t.entries[at].Size = total
	}
	return total
}

func (t *treeWalk) write(w io.Writer, r treeResult) {
	var out table
	out.row(plain("MODE"), plain("OWNER"), plain("SIZE"), plain("LAYER"), plain("PATH"))
	for i, e := range t.entries {
		layer := "-"
		if e.Layer >= 0 {
			layer = fmt.Sprint(e.Layer)
		}
		out.row(plain(e.Mode), plain(fmt.Sprintf("%d:%d", e.UID, e.GID)), plain(size(e.Size)), plain(layer), plain(t.drawn[i]))
	}
	fmt.Fprintln(w, strings.Join(out.lines(""), "\n"))
	var legend table
	for i, l := range r.Layers {
		if r.Path != "/" && !t.layers[i] {
			continue // it has nothing at or below the path
		}
		legend.row(plain(fmt.Sprintf("layer %d", i)), plain(shortDigest(l.Digest)), plain(size(l.Size)), plain(firstLine(l.CreatedBy)))
	}
	if len(legend.rows) > 0 {
		fmt.Fprintf(w, "\n%s\n", strings.Join(legend.lines(""), "\n"))
	}
}
