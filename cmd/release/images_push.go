package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/human"
)

// pushResult is the result of images push.
type pushResult struct {
	api.Head
	images.Pushed
}

func (c *cli) imagesPush() *cobra.Command {
	var o images.PushOptions
	cmd := &cobra.Command{
		Use: "push IMAGE REFERENCE", Short: "Send an image to a registry, with its signatures and bills of materials",
		Long: `Sends an image to a registry. Blobs that are there are not sent, so that a push which was cut goes on where it was, and
layers that an earlier push brought to another repository of the registry are taken from there. Credentials come from the Docker
configuration and its helpers. Signatures, attestations and bills of materials go along; signatures are also found under the tag
where cosign looks.

With --compress gzip the layers are compressed on the way. The registry then has another digest, which is printed; its
annotation release.uncompressed.digest names the one here, and that is the one which signatures are of. A pull brings the image
back under the digest it has here.`,
		Example: "  release images push shop registry.example/team/shop:v8\n  release images push r8 registry.example/team/shop:v8 --compress gzip",
		Args:    between(2, 2, "an image and a reference"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			v := c.out.newTransferView()
			o.Reference, o.Progress = args[1], v.event
			res, err := store.Push(cmd.Context(), digest, o)
			v.close()
			if err != nil {
				return ended(cmd.Context(), fmt.Errorf("push image %s to %s: %w", args[0], args[1], err))
			}
			c.out.progress("%s: %s moved, %d of %s", res.Reference, size(res.MovedSize), res.Moved, human.Count(res.Blobs, "blob"))
			return c.out.result(pushResult{api.NewHead(nil), res}, func(w io.Writer) { fmt.Fprintln(w, res.Digest) })
		},
	}
	cmd.Flags().StringVar(&o.Compress, "compress", "", "`form` of the layers in the registry: gzip (default: as they are)")
	cmd.Flags().BoolVar(&o.PlainHTTP, "plain-http", false, "also speak to the registry without TLS; on loopback that is always so")
	_ = cmd.RegisterFlagCompletionFunc("compress", cobra.FixedCompletions([]string{"gzip"}, noFiles))
	return cmd
}
