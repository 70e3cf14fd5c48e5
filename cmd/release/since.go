package main

import (
	"context"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
)

// since is the time that --since names: a length of time before now, a time, or a release's launch. "" is the zero time.
func (c *cli) since(ctx context.Context, client *api.Client, app api.App, text string) (time.Time, error) {
	if !releaseID.MatchString(text) {
		return sinceTime(text, time.Now())
	}
	rel, err := releaseNamed(ctx, client, app, text)
	return rel.At, err
}

// releaseNamed finds a release among all that there ever were.
func releaseNamed(ctx context.Context, client *api.Client, app api.App, id string) (api.Release, error) {
	releases, err := client.Releases(ctx, app)
	if err != nil {
		return api.Release{}, err
	}
	for _, rel := range releases {
		if rel.ID == id {
			return rel, nil
		}
	}
	return api.Release{}, fault.New(fault.NotFound, "%s/%s has no release %s", app.App, app.Env, id).WithHint("release history lists them")
}

// sinceTime reads a length of time before now (90m, 7d), or a time: a day or a minute of this machine's, or a full one.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	var age config.Age
	if age.UnmarshalText([]byte(text)) == nil {
		return now.Add(-age.Std()), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, strings.Replace(text, "T", " ", 1), now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "read --since: %q is neither a length of time nor a time", text).
		WithHint("valid are 90m, 7d, 2006-01-02, \"2006-01-02 15:04\" and 2006-01-02T15:04:05Z")
}
