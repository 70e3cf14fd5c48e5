package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images/provenance"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/fault"
)

// Variables of signed bakes.
const (
	signVariable    = "RELEASE_SIGN_KEY"
	builderVariable = "RELEASE_BUILDER_ID" // URI of who bakes, for the provenance
)

// signFlag adds --sign.
func signFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "sign", "", "`keyfile` to sign image and provenance with (default: "+signVariable+", else no signature)")
}

// signingKey reads the key of a flag, else of the variable; nil without both.
func (c *cli) signingKey(path string) (*signature.PrivateKey, error) {
	if path == "" {
		path = c.getenv(signVariable)
	}
	if path == "" {
		return nil, nil
	}
	key, err := signature.LoadPrivate(path)
	if err != nil {
		return nil, err
	}
	if key.Warning != "" {
		c.out.note("%s %s", c.out.yellow("note:"), key.Warning)
	}
	return key, nil
}

// signResult is the result of images sign.
type signResult struct {
	api.Head
	Image string `json:"image"`
	Key   string `json:"key"`   // its id
	Added bool   `json:"added"` // false: it was signed by this key already
}

func (c *cli) imagesSign() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "sign IMAGE", Short: "Sign an image, and what is known of where it comes from",
		Long: `Adds a signature that cosign verify accepts, and signs the provenance that bake attached. Both stay beside the image and go
with it to registries. Who signs vouches for the provenance too: look at it first with release images provenance.`,
		Example: "  release images sign shop --key release.key",
		Args:    between(1, 1, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := c.signingKey(path)
			if err != nil {
				return err
			}
			if key == nil {
				return fault.New(fault.Invalid, "sign image %s: no key given", args[0]).WithHint("--key KEYFILE, or set %s; release images keygen makes one", signVariable)
			}
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			changed, err := provenance.Sign(cmd.Context(), store, digest, key)
			if err != nil {
				return err
			}
			added, err := signature.Sign(cmd.Context(), store, digest, key)
			if err != nil {
				return err
			}
			r := signResult{Head: api.NewHead(nil), Image: string(digest), Key: key.Public.ID(), Added: added || changed}
			return c.out.result(r, func(w io.Writer) {
				if !r.Added {
					fmt.Fprintf(w, "%s was signed by %s already\n", digest, shortKey(key.Public))
					return
				}
				fmt.Fprintf(w, "signed %s with %s\n", digest, shortKey(key.Public))
			})
		},
	}
	cmd.Flags().StringVar(&path, "key", "", "private `keyfile` (default: "+signVariable+")")
	return cmd
}
