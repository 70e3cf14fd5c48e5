package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// keyResult is the result of images keygen.
type keyResult struct {
	api.Head
	Private string `json:"private"` // path
	Public  string `json:"public"`  // path
	Key     string `json:"key"`     // its id
}

func (c *cli) imagesKeygen() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "keygen", Short: "Make a pair of keys for signing images",
		Long: `Writes an ed25519 key to NAME.key (PKCS #8, mode 0600: keep it secret, it has no password) and its public half to NAME.pub,
which is for everybody: release.yaml, release images verify, cosign verify. Files that are there stay.`,
		Example: "  release images keygen --out keys/release",
		Args:    noArgs(),
		RunE: func(_ *cobra.Command, _ []string) error {
			r := keyResult{Head: api.NewHead(nil), Private: name + ".key", Public: name + ".pub"}
			var err error
			if r.Key, err = writeKeys(r.Private, r.Public); err != nil {
				return err
			}
			return c.out.result(r, func(w io.Writer) {
				fmt.Fprintf(w, "wrote %s (keep it secret) and %s\n", r.Private, r.Public)
			})
		},
	}
	cmd.Flags().StringVar(&name, "out", "release", "`name` of the files, without .key and .pub")
	return cmd
}

func writeKeys(privatePath, publicPath string) (id string, err error) {
	for _, path := range []string{privatePath, publicPath} {
		if _, err := os.Lstat(path); err == nil {
			return "", fault.New(fault.Exists, "make keys: %s is there already", path).WithHint("--out names other files")
		}
	}
	private, public, err := signature.Generate()
	if err != nil {
		return "", err
	}
	key, err := signature.ParsePublic(publicPath, public)
	if err != nil {
		return "", err
	}
	if err := atomicfile.Write(privatePath, private, 0o600); err != nil {
		return "", fmt.Errorf("make keys: %w", err)
	}
	if err := atomicfile.Write(publicPath, public, 0o644); err != nil {
		return "", errors.Join(fmt.Errorf("make keys: %w", err), os.Remove(privatePath))
	}
	return key.ID(), nil
}
