package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
)

func (c *cli) completionVerb() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that teaches the shell our verbs, flags and names",
		Example: `  source <(release completion bash)
  release completion zsh > "${fpath[1]}/_release"
  release completion fish > ~/.config/fish/completions/release.fish`,
		Args:      between(1, 1, "the shell"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, w := cmd.Root(), c.out.stdout
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w, true)
			case "zsh":
				return root.GenZshCompletion(w)
			case "fish":
				return root.GenFishCompletion(w, true)
			}
			return onlyShells(cmd, args[0])
		},
	}
}

// completeFlags gives the global flags their completions.
func (c *cli) completeFlags(root *cobra.Command) {
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml")
	_ = root.RegisterFlagCompletionFunc("env", c.completeEnvironments)
}

const noFiles = cobra.ShellCompDirectiveNoFileComp

// completionTime bounds how long a person waits for names.
const completionTime = 2 * time.Second

func (c *cli) completeEnvironments(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	path := c.flags.config
	if path == "" {
		path, _ = config.Find(".")
	}
	names, _ := config.Environments(path)
	return names, noFiles
}

// completeRoles offers the roles of an app that has several, each with the = that a size follows.
func (c *cli) completeRoles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	app, err := c.app()
	if err != nil || len(app.Roles) == 0 {
		return nil, noFiles
	}
	var names []string
	for _, role := range app.RoleNames() {
		names = append(names, role+"=")
	}
	return names, noFiles | cobra.ShellCompDirectiveNoSpace
}

func (c *cli) completeImages(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	store, err := c.store()
	if err != nil {
		return nil, noFiles
	}
	list, err := store.List()
	if err != nil {
		return nil, noFiles
	}
	var names []string
	for _, i := range list {
		if i.Newest && i.Name != "" {
			names = append(names, i.Name+"\tnewest")
		}
		names = append(names, i.Digest.Short()+"\t"+i.Name)
	}
	return names, noFiles
}

func (c *cli) completeReleases(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	c.ask(cmd, func(ctx context.Context, client *api.Client, app api.App) {
		releases, _ := client.Releases(ctx, app)
		for i := len(releases) - 1; i >= 0; i-- {
			names = append(names, releases[i].ID+"\t"+releases[i].State)
		}
	})
	return names, noFiles | cobra.ShellCompDirectiveKeepOrder
}

func (c *cli) completeNodes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	c.ask(cmd, func(ctx context.Context, client *api.Client, app api.App) {
		s, _ := client.Status(ctx, app)
		for _, fl := range s.Fleets {
			for _, n := range fl.Nodes {
				names = append(names, n.ID+"\t"+fl.Release+" "+n.State)
			}
		}
	})
	return names, noFiles
}

// ask runs f when there is an app and an agent answers; completion never starts one.
func (c *cli) ask(cmd *cobra.Command, f func(context.Context, *api.Client, api.App)) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	app, err := c.app()
	if err != nil {
		return
	}
	if client, _, err := c.reach(ctx); err == nil {
		f(ctx, client, appOf(app))
	}
}
