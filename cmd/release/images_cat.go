package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

func (c *cli) imagesCat() *cobra.Command {
	return &cobra.Command{
		Use: "cat IMAGE PATH", Short: "Print a file of an image, and nothing else",
		Long:    "Prints the bytes of a file of an image. Links are followed inside the image.",
		Example: "  release images cat shop /etc/os-release\n  release images cat r8 /var/lib/dpkg/status | grep ^Package",
		Args:    between(2, 2, "an image and a path"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, digest, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			files, err := store.Files(cmd.Context(), digest)
			if err != nil {
				return ended(cmd.Context(), err)
			}
			n, err := files.Resolve(args[1])
			if err != nil {
				return missingInImage(args[0], err)
			}
			if n.Type == images.Dir {
				return fault.New(fault.Invalid, "print %s of image %s: it is a folder", rooted(n), args[0]).
					WithHint("release images tree %s %s", args[0], rooted(n))
			}
			c.out.finished = true // standard output is the file's
			return printFile(c.out.stdout, files, n)
		},
	}
}

// printFile copies a file, which is checked meanwhile.
func printFile(w io.Writer, files *images.Files, n *images.ImageFile) error {
	r, err := files.Open(n)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("print %s: %w", rooted(n), err)
	}
	return nil
}
