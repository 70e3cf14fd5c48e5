package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images/provenance"
	"github.com/bootandshoot/release/internal/fault"
)

func (c *cli) imagesProvenance() *cobra.Command {
	return &cobra.Command{
		Use: "provenance IMAGE", Short: "Print how and from what an image was made",
		Long: `Prints the statement that bake attached (in-toto statement v1 with SLSA provenance v1): the recipe, and everything that came
from elsewhere with its digest. Signed or not, it is printed as it is: release images verify checks it.`,
		Example: "  release images provenance shop",
		Args:    between(1, 1, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			all, err := provenance.Find(store, digest)
			if err != nil {
				return err
			}
			if len(all) == 0 {
				return fault.New(fault.NotFound, "image %s has no provenance", digest.Short()).WithHint("release bake attaches it")
			}
			newest := all[len(all)-1]
			r := documentResult{Head: api.NewHead(nil), Image: string(digest), Format: "slsa", Attached: true,
				Signed: newest.Envelope != nil, Document: newest.Data}
			return c.out.result(r, func(w io.Writer) { c.out.document(w, append(newest.Data, '\n')) })
		},
	}
}
