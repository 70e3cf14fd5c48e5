package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/diff"
)

// diffResult is the result of images diff.
type diffResult struct {
	api.Head
	diff.Result
}

func (c *cli) imagesDiff() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "diff A B", Short: "Show what changes from one image to another",
		Long: `Compares packages, files, configuration, layers, services, extensions and attached bills of materials. Files of
changed packages are counted with their package. Exits with 0 also when the images differ.

A and B are digests, unique prefixes, releases (r8) or names.`,
		Example: "  release images diff r7 r8\n  release images diff shop 4f1c9a --files\n  release images diff r7 shop --json",
		Args:    between(2, 2, "an image"), ValidArgsFunction: c.completeImages,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, a, err := c.openImage(cmd, args[0])
			if err != nil {
				return err
			}
			b, err := c.resolve(cmd.Context(), nil, args[1])
			if err != nil {
				return err
			}
			r, err := diff.Compare(cmd.Context(), store, a, images.Digest(b))
			if err != nil {
				return ended(cmd.Context(), err)
			}
			return c.out.result(diffResult{Head: api.NewHead(nil), Result: r}, func(w io.Writer) {
				v := diffView{out: c.dataOutput(), all: all, names: [2]string{args[0], args[1]}}
				v.write(w, r)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "files", false, "list every file, those of changed packages too")
	return cmd
}

// dataOutput is an output that colours when standard output, where data goes, is a terminal.
func (c *cli) dataOutput() *output {
	o := *c.out
	o.color = o.color && stdoutIsTerminal(c)
	return &o
}
