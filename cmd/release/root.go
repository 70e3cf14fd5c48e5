package main

import (
	"github.com/spf13/cobra"
)

const rootLong = `release bakes an immutable image from a recipe, boots a fresh fleet from it, proves the fleet
healthy, shifts traffic to it, and shoots the old fleet. Nothing that runs is ever edited.

Exit codes:
  0  the asked state holds            4  failed, and a person must act
  1  error; nothing changed           5  another operation is under way
  2  usage or configuration is wrong  6  held at a step, waits for a person
  3  failed and rolled back           7  still running (--timeout, connection lost)
                                    130  interrupted; the operation goes on`

const rootExample = `  release init                      write release.yaml and a recipe for this folder
  release up                        bake, launch and cut over, in one step
  release launch && release cutover --percent 10
  release status
  release rollback`

// newRoot is the command tree.
func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "release",
		Short: "Bake images, boot fleets, cut over, shoot the old",
		Long:  rootLong, Example: rootExample,
		SilenceErrors: true, SilenceUsage: true,
		Args:              onlyVerbs,
		RunE:              c.needsVerb,
		PersistentPreRunE: c.begin,
		Version:           programVersion(),
	}
	root.SetVersionTemplate("release {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommandGroupID("machine")
	c.flags.bind(root.PersistentFlags())
	c.completeFlags(root)
	for _, g := range []struct{ id, title string }{
		{"app", "An app:"}, {"image", "Images:"}, {"run", "Releases:"}, {"look", "Looking:"}, {"machine", "This machine:"},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
	}
	add := func(id string, verbs ...*cobra.Command) {
		for _, v := range verbs {
			v.GroupID = id
			root.AddCommand(v)
		}
	}
	add("app", c.initVerb(), c.validateVerb(), c.configVerb())
	add("image", c.bakeVerb(), c.lockVerb(), c.outdatedVerb(), c.imagesVerb())
	add("run", c.planVerb(), c.upVerb(), c.launchVerb(), c.cutoverVerb(), c.rollbackVerb(), c.promoteVerb(), c.scaleVerb(), c.replaceVerb(), c.quarantineVerb(), c.runVerb(),
		c.steerVerb("pause"), c.steerVerb("resume"), c.steerVerb("abort"), c.approveVerb(), c.freezeVerb(), c.unfreezeVerb(), c.destroyVerb())
	add("look", c.statusVerb(), c.topVerb(), c.historyVerb(), c.showVerb(), c.diffVerb(), c.statsVerb(), c.eventsVerb(), c.logsVerb(), c.execVerb(), c.cpVerb())
	add("machine", c.agentVerb(), c.routerVerb(), c.hostVerb(), c.doctorVerb(), c.completionVerb(), c.versionVerb())
	root.AddCommand(c.serveFilesVerb())
	return root
}
