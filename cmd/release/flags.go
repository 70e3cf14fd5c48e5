package main

import (
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// bind declares the global flags.
func (g *globals) bind(f *pflag.FlagSet) {
	f.StringVarP(&g.config, "config", "c", "", "the app's `file` (default release.yaml, searched upward)")
	f.StringVarP(&g.env, "env", "e", "", "`name` of the environment (default production)")
	f.BoolVar(&g.json, "json", false, "events and result as JSON lines on standard output")
	f.BoolVarP(&g.quiet, "quiet", "q", false, "no progress, results and errors only")
	f.BoolVarP(&g.verbose, "verbose", "v", false, "say more")
	f.BoolVarP(&g.yes, "yes", "y", false, "do not ask before destroying or overwriting")
	f.DurationVar(&g.timeout, "timeout", 0, "stop waiting after this `time`; what runs goes on (exit 7)")
	f.BoolVar(&g.noColor, "no-color", false, "no colours and no live view")
	f.StringVar(&g.agent, "agent", "", "`socket` of the agent (default: agent.sock in the state folder)")
}

// variableOf is the environment variable of a global flag: RELEASE_ and the name in capitals.
func variableOf(flag string) string {
	return "RELEASE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fillFromEnvironment sets the global flags that are not given from their RELEASE_ variables.
func (c *cli) fillFromEnvironment(cmd *cobra.Command) error {
	var errs fault.List
	cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		name := variableOf(f.Name)
		value, ok := c.env(name)
		if f.Changed || !ok || value == "" {
			return
		}
		if f.Value.Type() == "bool" {
			value = boolText(value)
		}
		if err := f.Value.Set(value); err != nil {
			errs = append(errs, fault.New(fault.Invalid, "read %s=%q: %v", name, value, err))
		}
	})
	return errs.Err()
}

// truth reads a variable that switches something on: any value but these does.
func truth(value string) bool {
	switch strings.ToLower(value) {
	case "", "0", "f", "false", "no", "off":
		return false
	}
	return true
}

func boolText(value string) string {
	if truth(value) {
		return "true"
	}
	return "false"
}

var unknownFlag = regexp.MustCompile(`^unknown flag: --([^ =]+)`)

// flagError makes a usage error of what the flag parser says, with the flag that was likely meant.
func flagError(cmd *cobra.Command, err error) error {
	e := fault.New(fault.Invalid, "%s: %w", cmd.CommandPath(), err).WithHint("%s --help", cmd.CommandPath())
	m := unknownFlag.FindStringSubmatch(err.Error())
	if m == nil {
		return e
	}
	var names []string
	collect := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.Flags().VisitAll(collect)
	cmd.InheritedFlags().VisitAll(collect)
	if near := strictyaml.Nearest(m[1], names); near != "" {
		return e.WithHint("did you mean --%s? See %s --help", near, cmd.CommandPath())
	}
	return e
}

// between checks the number of arguments; what names them in the message.
func between(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fault.New(fault.Invalid, "%s: %s is missing", cmd.CommandPath(), what).WithHint("%s", cmd.UseLine())
		case most >= 0 && len(args) > most:
			return fault.New(fault.Invalid, "%s: %q is one argument too many", cmd.CommandPath(), args[most]).WithHint("%s", cmd.UseLine())
		}
		return nil
	}
}

func noArgs() cobra.PositionalArgs { return between(0, 0, "") }

// onlyVerbs refuses a word that is no verb of cmd and names the nearest.
func onlyVerbs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := fault.New(fault.Invalid, "%s: there is no verb %q", cmd.CommandPath(), args[0]).WithHint("%s --help", cmd.CommandPath())
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if near := strictyaml.Nearest(args[0], names); near != "" {
		return e.WithHint("did you mean %s %s?", cmd.CommandPath(), near)
	}
	return e
}

// needsVerb shows people the verbs that they may choose from. A program is told that one is missing.
func (c *cli) needsVerb(cmd *cobra.Command, _ []string) error {
	if !c.out.json {
		return cmd.Help()
	}
	return fault.New(fault.Invalid, "%s: the verb is missing", cmd.CommandPath()).WithHint("%s --help lists the verbs", cmd.CommandPath())
}

// group makes a command that only holds verbs.
func (c *cli) group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: onlyVerbs, RunE: c.needsVerb}
	cmd.AddCommand(verbs...)
	return cmd
}

// names lists the global flags.
func (g *globals) names() []string {
	var names []string
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	g.bind(f)
	f.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

func onlyShells(cmd *cobra.Command, shell string) error {
	return fault.New(fault.Invalid, "%s: %q is none of bash, zsh, fish", cmd.CommandPath(), shell).WithHint("%s", cmd.UseLine())
}
