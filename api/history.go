package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Origin is where an operation was asked for, as the agent saw it itself.
type Origin struct {
	User string `json:"user"` // of the process that asked
	PID  int    `json:"pid,omitempty"`
	Via  string `json:"via"` // "unix:/run/user/1000/release/agent.sock"
}

// Arguments are what an operation was asked with.
type Arguments struct {
	Image      string   `json:"image,omitempty"`
	Release    string   `json:"release,omitempty"`
	Percent    int      `json:"percent,omitempty"`
	Size       int      `json:"size,omitempty"`
	Role       string   `json:"role,omitempty"`
	Nodes      []string `json:"nodes,omitempty"`
	Force      bool     `json:"force,omitempty"`
	KeepFailed bool     `json:"keep_failed,omitempty"`
	Config     string   `json:"config,omitempty"` // digest of the configuration that was given

	For float64 `json:"for,omitempty"` // quarantine: seconds
	End bool    `json:"end,omitempty"` // quarantine: of one

	Volumes bool `json:"volumes,omitempty"` // destroy
}

// ReleaseRecord is all that is known of one release.
type ReleaseRecord struct {
	Release
	Config       json.RawMessage `json:"config,omitempty"` // without secrets; none when it is no longer kept
	ConfigDigest string          `json:"config_digest"`
	Operations   []Operation     `json:"operations"` // that moved to it or away from it, the oldest first
	Events       []Event         `json:"events"`     // of it and of those that moved to it, the oldest first
	Shot         []string        `json:"shot"`       // its nodes that were shot one by one, by name
	Tails        []NodeTail      `json:"tails"`      // last lines of its nodes that failed
}

// ConfigChange is one value that differs between two configurations.
type ConfigChange struct {
	Path string `json:"path"` // "fleet.size", "cutover.steps[1].hold"
	From string `json:"from"` // as JSON; "" where there was none, "***" for a secret
	To   string `json:"to"`
}

// ReleaseDiff is what differs between two releases.
type ReleaseDiff struct {
	From   Release        `json:"from"`
	To     Release        `json:"to"`
	Config []ConfigChange `json:"config"`
}

// Stats are how well an app is delivered in one environment.
type Stats struct {
	App         string    `json:"app"`
	Env         string    `json:"env"`
	Since       time.Time `json:"since,omitzero"`
	Until       time.Time `json:"until"`
	Deployments int       `json:"deployments"` // releases that got all the traffic
	PerDay      float64   `json:"per_day"`
	LeadTime    Spread    `json:"lead_time"` // from the bake to all the traffic
	Changes     int       `json:"changes"`   // releases that got any traffic
	Failed      int       `json:"failed"`    // of them: aborted with traffic, or rolled back
	FailureRate float64   `json:"failure_rate"`
	Stopped     int       `json:"stopped"`  // releases that failed their gate
	Recovery    Spread    `json:"recovery"` // from a failed release's first traffic to its last
}

// Spread is the spread of some lengths of time, in seconds.
type Spread struct {
	Count  int     `json:"count"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// ShowResult is the result of show.
type ShowResult struct {
	Head
	ReleaseRecord
}

// StatsResult is the result of stats.
type StatsResult struct {
	Head
	Stats []Stats `json:"stats"` // by app and environment
}

// Release reads all that is known of a release; fault.NotFound for one that there never was.
func (c *Client) Release(ctx context.Context, app App, id string) (r ReleaseRecord, err error) {
	return r, c.call(ctx, http.MethodGet, app.path("releases", id), nil, &r)
}

// Diff compares the configurations of two releases.
func (c *Client) Diff(ctx context.Context, app App, from, to string) (d ReleaseDiff, err error) {
	q := url.Values{"from": {from}, "to": {to}}
	return d, c.call(ctx, http.MethodGet, app.path("diff")+"?"+q.Encode(), nil, &d)
}

// Stats are those of an app in one environment; a zero time is from the beginning.
func (c *Client) Stats(ctx context.Context, app App, since time.Time) (s Stats, err error) {
	path := app.path("stats")
	if !since.IsZero() {
		path += "?" + url.Values{"since": {since.Format(time.RFC3339Nano)}}.Encode()
	}
	return s, c.call(ctx, http.MethodGet, path, nil, &s)
}
