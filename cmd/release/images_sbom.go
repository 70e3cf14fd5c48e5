package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/sbom"
	"github.com/bootandshoot/release/internal/fault"
)

// documentResult is the result of images sbom and images provenance.
type documentResult struct {
	api.Head
	Image    string          `json:"image"`
	Format   string          `json:"format"`   // spdx, cyclonedx, slsa
	Attached bool            `json:"attached"` // false: made now of the image alone
	Signed   bool            `json:"signed"`   // by whomever
	Document json.RawMessage `json:"document"`
}

func (c *cli) imagesSBOM() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "sbom IMAGE", Short: "Print an image's bill of materials",
		Long: `Prints the bill of materials that bake attached: packages, modules, downloads, commits, extensions, and the files that no
package owns. An image without one, such as one that another tool made, is looked into now.`,
		Example: "  release images sbom shop --format cyclonedx > shop.cdx.json",
		Args:    between(1, 1, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, ok := map[string]string{"spdx": images.ArtifactSPDX, "cyclonedx": images.ArtifactCycloneDX}[format]
			if !ok {
				return fault.New(fault.Invalid, "read --format: %q is none of spdx, cyclonedx", format)
			}
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			data, attached, err := bill(cmd.Context(), store, digest, kind)
			if err != nil {
				return err
			}
			r := documentResult{Head: api.NewHead(nil), Image: string(digest), Format: format, Attached: attached, Document: data}
			return c.out.result(r, func(w io.Writer) { c.out.document(w, data) })
		},
	}
	cmd.Flags().StringVar(&format, "format", "spdx", "`form`: spdx (2.3) or cyclonedx (1.6), both in JSON")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"spdx", "cyclonedx"}, noFiles))
	return cmd
}

// document writes JSON: the very bytes to a file or a pipe, in lines to a terminal.
func (o *output) document(w io.Writer, data []byte) {
	if f, ok := o.stdout.(*os.File); ok && isTerminal(f) {
		data = inLines(data)
	}
	_, _ = w.Write(data)
}

// inLines is JSON for people; what is none stays as it is.
func inLines(data []byte) []byte {
	var lines bytes.Buffer
	if err := json.Indent(&lines, bytes.TrimSpace(data), "", "  "); err != nil {
		return data
	}
	return append(lines.Bytes(), '\n')
}

// bill is the newest attached bill of materials, else one made now.
func bill(ctx context.Context, store *images.Store, d images.Digest, kind string) (data []byte, attached bool, err error) {
	list, err := store.Referrers(d, kind)
	if err != nil {
		return nil, false, err
	}
	if n := len(list); n > 0 {
		a, err := store.OpenArtifact(list[n-1].Digest)
		if err != nil {
			return nil, true, err
		}
		if len(a.Blobs) > 0 && json.Valid(a.Blobs[0].Data) {
			return a.Blobs[0].Data, true, nil
		}
	}
	doc, err := sbom.Read(ctx, store, d, sbom.Inputs{})
	if err != nil {
		return nil, false, err
	}
	if kind == images.ArtifactCycloneDX {
		data, err = doc.CycloneDX()
	} else {
		data, err = doc.SPDX()
	}
	return data, false, err
}
