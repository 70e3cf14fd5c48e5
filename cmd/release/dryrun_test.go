package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// foretoldOtherwise are the verbs that need no --dry-run, by the reason.
var foretoldOtherwise = map[string]string{
	"validate": looks, "config": looks, "outdated": looks, "plan": looks, "status": looks, "top": looks, "history": looks, "show": looks, "diff": looks,
	"stats": looks, "events": looks, "logs": looks, "doctor": looks, "completion": looks, "version": looks,
	"images ls": looks, "images inspect": looks, "images diff": looks, "images tree": looks, "images cat": looks, "images sbom": looks,
	"images provenance": looks, "images verify": looks, "agent status": looks, "agent logs": looks, "router status": looks, "host list": looks, "host status": looks,

	"bake": adds, "images boot": adds, "images shell": adds, "images pull": adds, "images push": adds, "images export": adds, "images sign": adds,
	"images keygen": adds, "init": adds + "; what is there stays unless -y is given",
	"lock": "release outdated says what it would change",
	"exec": "only the command itself knows what it does", "cp": "as exec",
	"agent run": process, "router run": process, "serve-files": process,
}

const (
	looks   = "it changes nothing"
	adds    = "it only adds"
	process = "it is a process, not a change"
)

// Every verb can be tried without doing anything, or stands above with the reason why it need not.
func TestChangingVerbsHaveADryRun(t *testing.T) {
	var seen []string
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.HasSubCommands() {
			for _, sub := range cmd.Commands() {
				walk(sub)
			}
			return
		}
		verb := strings.TrimPrefix(cmd.CommandPath(), "release ")
		seen = append(seen, verb)
		dry, why := cmd.Flags().Lookup("dry-run") != nil, foretoldOtherwise[verb]
		switch {
		case !dry && why == "":
			t.Errorf("release %s has no --dry-run, and no reason for that", verb)
		case dry && why != "":
			t.Errorf("release %s has --dry-run and a reason why not: %s", verb, why)
		}
	}
	walk(newRoot(&cli{}))
	for verb := range foretoldOtherwise {
		if !slices.Contains(seen, verb) {
			t.Errorf("there is no release %s", verb)
		}
	}
}
