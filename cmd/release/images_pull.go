package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
)

// pullResult is the result of images pull.
type pullResult struct {
	api.Head
	images.Pulled
}

func (c *cli) imagesPull() *cobra.Command {
	var o images.PullOptions
	cmd := &cobra.Command{
		Use: "pull REFERENCE", Short: "Bring an image from a registry, with its signatures and bills of materials",
		Long: `Brings an image from a registry into the local store. A pull that was cut goes on where it was; everything is checked by
its digest. Of an image for several platforms the one for this machine is taken, or that of --platform. Layers are stored
uncompressed: an image that another tool made has another digest here, and its annotation release.source.digest names that in
the registry.

Without --name the image has only its digest, and images gc removes it once it is an hour old and no fleet uses it. The same pull
with --name names it and moves nothing.`,
		Example: "  release images pull registry.example/team/shop:v8 --name shop\n  release images pull registry.example/base --platform linux/arm64",
		Args:    between(1, 1, "the reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := c.store()
			if err != nil {
				return err
			}
			v := c.out.newTransferView()
			o.Reference, o.Progress = args[0], v.event
			res, err := store.Pull(cmd.Context(), o)
			v.close()
			if err != nil {
				return ended(cmd.Context(), err)
			}
			for _, s := range res.Skipped {
				c.out.note("artifact %s stayed behind: %s", s.Digest.Short(), harmless(s.Reason))
			}
			if o.Name == "" {
				c.noteNameless(store, res.Image, args[0])
			}
			return c.out.result(pullResult{api.NewHead(nil), res}, func(w io.Writer) { fmt.Fprintln(w, res.Image) })
		},
	}
	cmd.Flags().StringVar(&o.Name, "name", "", "`name` of the image here")
	cmd.Flags().StringVar(&o.Platform, "platform", "", "`os/arch` of the image (default: this machine's)")
	cmd.Flags().BoolVar(&o.PlainHTTP, "plain-http", false, "also speak to the registry without TLS; on loopback that is always so")
	return cmd
}

// noteNameless says that a collection may take an image that nobody named.
func (c *cli) noteNameless(store *images.Store, d images.Digest, reference string) {
	if names, _, err := listedAs(store, d); err != nil || len(names) > 0 {
		return
	}
	c.out.note("%s the image has no name here, so release images gc may remove it when no fleet uses it\n  %s name it with: release images pull %s --name NAME",
		c.out.yellow("note:"), c.out.cyan("→"), harmless(reference))
}
