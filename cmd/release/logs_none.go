package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
)

// noLogs says why there is no output to show, of nodes that are there or that are gone: of all of an app, or of one release. With
// are the releases that have such output.
func noLogs(ctx context.Context, client *api.Client, app api.App, release string, gone bool, with []string) error {
	if release == "" {
		return noOutput(app, "", gone, nil)
	}
	if _, err := releaseNamed(ctx, client, app, release); fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "show logs of %s/%s: it has no release %s", app.App, app.Env, release).
			WithHint("%s", orReleases(with, gone, "release history lists them"))
	} else if err != nil {
		return err
	}
	return noOutput(app, release, gone, with)
}

// noOutput is the error for an app, or a release that there is or was, without output.
func noOutput(app api.App, release string, gone bool, with []string) error {
	whose := cmp.Or(release, app.App+"/"+app.Env)
	if gone {
		return fault.New(fault.NotFound, "show the last output of nodes of %s that are gone: none is kept", whose).
			WithHint("%s", orReleases(with, gone, "release logs shows what nodes say that are there"))
	}
	return fault.New(fault.NotFound, "show logs of %s: it has no node", whose).
		WithHint("%s", orReleases(with, gone, "of nodes that are gone: release logs --previous"))
}

// orReleases is a hint, after the releases of which there is output.
func orReleases(with []string, gone bool, hint string) string {
	if len(with) == 0 {
		return hint
	}
	slices.SortFunc(with, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) // by number
	with = slices.Compact(with)
	command := "release logs --release " + with[len(with)-1]
	if gone {
		command += " --previous"
	}
	return "there is output of " + strings.Join(with, ", ") + ": " + command + " · " + hint
}

// releasesWithNodes are those of which there is output.
func releasesWithNodes(s api.Status) (with []string) {
	for _, fl := range s.Fleets {
		if len(fl.Nodes) > 0 {
			with = append(with, fl.Release)
		}
	}
	return with
}
