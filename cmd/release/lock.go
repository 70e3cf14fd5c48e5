package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
)

// lockResult is the result of lock.
type lockResult struct {
	api.Head
	builder.Locked
}

func (c *cli) lockVerb() *cobra.Command {
	var update bool
	var platforms []string
	cmd := &cobra.Command{
		Use:   "lock [RECIPE] [NAME...]",
		Short: "Write a recipe's lockfile, or bring it up to date",
		Long: `Pins every package, download, commit, extension and base image that the recipe names to a hash, in a file beside the
recipe that belongs under version control. Pins that are there stay. --update makes them anew: all of them, or only
those of the NAMEs (packages, extensions, addresses or their last part); everything else keeps its version.`,
		Example: `  release lock
  release lock --update                       take the newest of everything
  release lock --update openssl libssl3       only these, for a security fix
  release lock recipes/shop.yaml --platform linux/amd64,linux/arm64`,
		RunE: func(cmd *cobra.Command, args []string) error {
			recipe, names := splitLockArgs(args)
			if len(names) > 0 && !update {
				return fault.New(fault.Invalid, "lock %s: names are for --update", strings.Join(names, " ")).
					WithHint("release lock --update %s", strings.Join(names, " "))
			}
			o, done, err := c.bakeOptions(bakeFlags{unsigned: true}, recipe)
			if done || err != nil {
				return err
			}
			return c.lock(cmd.Context(), o, builder.LockOptions{Update: update, Names: names, Platforms: platforms})
		},
	}
	cmd.Flags().BoolVar(&update, "update", false, "make the pins anew: those of the NAMEs, or all")
	cmd.Flags().StringSliceVar(&platforms, "platform", nil, "`os/arch` to pin packages for, several with commas (default: those of the lockfile, and this machine's)")
	return cmd
}

// splitLockArgs tells the recipe from names: a recipe is a path with an ending of YAML.
func splitLockArgs(args []string) (recipe, names []string) {
	if len(args) > 0 && (strings.HasSuffix(args[0], ".yaml") || strings.HasSuffix(args[0], ".yml")) {
		return args[:1], args[1:]
	}
	return nil, args
}

func (c *cli) lock(ctx context.Context, o builder.Options, l builder.LockOptions) error {
	v := c.out.newBakeView()
	o.Progress = v.event
	res, err := builder.Lock(ctx, o, l)
	v.close()
	if err != nil {
		return ended(ctx, err)
	}
	return c.out.result(lockResult{Head: api.NewHead(nil), Locked: res}, func(w io.Writer) {
		for _, change := range res.Changes {
			fmt.Fprintln(w, c.changeLine(change))
		}
		switch {
		case res.Changed && len(res.Changes) == 0:
			fmt.Fprintf(w, "%s: %s: other wishes, the same pins\n", relative(res.Path), c.out.green("written"))
		case res.Changed:
			fmt.Fprintf(w, "%s: %s, %s\n", relative(res.Path), c.out.green("written"), human.Count(len(res.Changes), "change"))
		default:
			fmt.Fprintf(w, "%s: nothing to change\n", relative(res.Path))
		}
	})
}

// changeLine shows a pin that changed.
func (c *cli) changeLine(x builder.Change) string {
	name := x.Kind + " " + x.Name
	if x.Arch != "" {
		name += ":" + x.Arch
	}
	switch {
	case x.From == "":
		return fmt.Sprintf("%s %s %s", c.out.green("+"), name, shortPin(x.To))
	case x.To == "":
		return fmt.Sprintf("%s %s %s", c.out.red("-"), name, shortPin(x.From))
	}
	return fmt.Sprintf("%s %s %s -> %s", c.out.yellow("~"), name, shortPin(x.From), shortPin(x.To))
}

// shortPin cuts hashes to what people compare.
func shortPin(pin string) string {
	words := strings.Fields(pin)
	for i, word := range words {
		if hash := strings.TrimPrefix(word, "sha256:"); len(hash) >= 40 {
			words[i] = hash[:12]
		}
	}
	return cmp.Or(strings.Join(words, " "), "-")
}
