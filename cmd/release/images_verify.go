package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/images/verify"
	"github.com/bootandshoot/release/internal/fault"
)

// verifyResult is the result of images verify.
type verifyResult struct {
	api.Head
	verify.Result
}

func (c *cli) imagesVerify() *cobra.Command {
	var paths []string
	var content bool
	cmd := &cobra.Command{
		Use: "verify IMAGE", Short: "Check an image's content, signature, provenance and bills of materials",
		Long: `Reads every blob of the image and compares it with its digest, and checks that one of the keys signed the image, that
provenance signed by one of them is about it, and that its bills of materials are those that the provenance names. Without --key the
keys are those of require.signed_by in release.yaml. With --content only the blobs are read, and no key is asked for.

A layer that is found damaged, here or elsewhere, is put aside: the next bake makes it anew, the next pull brings it anew.`,
		Example: "  release images verify shop --key release.pub\n  release images verify r8 --key ann.pub --key ben.pub --json\n  release images verify shop --content",
		Args:    between(1, 1, "the image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			if content && len(paths) > 0 {
				return fault.New(fault.Invalid, "verify image: --content checks no signature, so --key has no meaning with it")
			}
			var keys []signature.PublicKey
			if !content {
				var err error
				if keys, err = c.publicKeys(paths); err != nil {
					return err
				}
			}
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			var res verify.Result
			if content {
				res, err = verify.Content(cmd.Context(), store, digest)
			} else {
				res, err = verify.Image(cmd.Context(), store, digest, keys)
			}
			r := verifyResult{api.NewHead(err), res}
			if err != nil && !c.out.json {
				showChecks(c.out.stderr, res)
				return err
			}
			if writeErr := c.out.result(r, func(w io.Writer) { showChecks(w, res) }); writeErr != nil {
				return writeErr
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&paths, "key", nil, "public `keyfile`, repeatable; one of them must have signed (default: those of release.yaml)")
	cmd.Flags().BoolVar(&content, "content", false, "only read every blob and compare it with its digest")
	return cmd
}

func showChecks(w io.Writer, res verify.Result) {
	for _, check := range res.Checks {
		mark := "ok  "
		if !check.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(w, "%s  %-10s  %s\n", mark, check.Name, check.Detail)
	}
}

// publicKeys reads the keys of flags, else those that the app requires.
func (c *cli) publicKeys(paths []string) ([]signature.PublicKey, error) {
	var keys []signature.PublicKey
	for _, path := range paths {
		k, err := signature.LoadPublic(path)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) > 0 {
		return keys, nil
	}
	app, err := c.app()
	if fault.Is(err, fault.NotFound) {
		return nil, noKeys()
	}
	if err != nil {
		return nil, err
	}
	if keys, err = requiredKeys(app.Require); err == nil && len(keys) == 0 {
		err = noKeys()
	}
	return keys, err
}

func noKeys() error {
	return fault.New(fault.Invalid, "verify image: no key given").
		WithHint("--key release.pub, or require: {signed_by: [release.pub]} in %s; --content reads the blobs alone", config.FileName)
}
