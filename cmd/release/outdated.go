package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/human"
)

// outdatedResult is the result of outdated.
type outdatedResult struct {
	api.Head
	Outdated []builder.Newer `json:"outdated"`
	Security int             `json:"security"` // how many of them come from a security archive
}

func (c *cli) outdatedVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "outdated [RECIPE]",
		Short: "Show what is newer than the lockfile",
		Long: `Asks the archives, the base image's registry and the repositories what a new lockfile would pin otherwise. Packages
from a security archive are marked. Nothing is changed: release lock --update does that.`,
		Example: "  release outdated\n  release outdated recipes/shop.yaml --json", Args: between(0, 1, ""),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, done, err := c.bakeOptions(bakeFlags{unsigned: true}, args)
			if done || err != nil {
				return err
			}
			return c.outdated(cmd.Context(), o, args)
		},
	}
}

func (c *cli) outdated(ctx context.Context, o builder.Options, args []string) error {
	v := c.out.newBakeView()
	o.Progress = v.event
	list, err := builder.Outdated(ctx, o)
	v.close()
	if err != nil {
		return ended(ctx, err)
	}
	r := outdatedResult{Head: api.NewHead(nil), Outdated: list}
	for _, n := range list {
		if n.Security {
			r.Security++
		}
	}
	return c.out.result(r, func(w io.Writer) {
		for _, n := range list {
			line := c.changeLine(builder.Change{Kind: n.Kind, Name: n.Name, Arch: n.Arch, From: n.Locked, To: n.Available})
			if n.Security {
				line += "  " + c.out.red("security")
			}
			fmt.Fprintln(w, line)
		}
		take := "release lock --update"
		if len(args) > 0 {
			take = "release lock " + args[0] + " --update"
		}
		switch {
		case len(list) == 0:
			fmt.Fprintln(w, c.out.green("nothing newer"))
		case r.Security > 0:
			fmt.Fprintf(w, "%s, %d of them for security; %s takes them\n", human.Count(len(list), "change"), r.Security, take)
		default:
			fmt.Fprintf(w, "%s; %s takes them\n", human.Count(len(list), "change"), take)
		}
	})
}
