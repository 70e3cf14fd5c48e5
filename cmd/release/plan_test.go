package main

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/images/diff"
)

func TestPlanScreen(t *testing.T) {
	o := newOutput(io.Discard, io.Discard, func(string) (string, bool) { return "", false })
	p := planResult{Plan: api.Plan{
		App: "shop", Env: "production", Kind: "up", Release: "r9", From: "r8", Image: "sha256:777777777777bbbb", FromImage: "sha256:4f1c9a000000aaaa",
		Fleets: []api.PlannedFleet{
			{Role: "web", Release: "r7", Driver: "docker", Nodes: 2, Now: "warm", Shot: &api.PlannedShot{After: 240.02, Why: "another release is kept warm instead", Drain: 30, LongConnections: 600}},
			{Role: "web", Release: "r8", Driver: "docker", Nodes: 2, Now: "serving", Then: "draining", Shot: &api.PlannedShot{After: 1140.04, Why: "its time as the previous release is over", Drain: 30, LongConnections: 600}},
			{Role: "web", Release: "r9", Driver: "docker", Nodes: 4, Then: "serving"},
			{Role: "worker", Release: "r9", Driver: "docker", Nodes: 1, Then: "serving"},
		},
		Changes: []api.PlannedChange{{Path: "fleet.env.LOG", From: "***", To: "***"}, {Path: "fleet.size", From: "2", To: "4"}, {Path: "fleet.stop.signal", To: `"INT"`}},
		Schedule: []api.Moment{
			{After: 0.01, Type: "fleet.prepared", Message: "the image of r9 is in place"},
			{After: 0.04, Type: "up.step", Message: "r9 gets 10 %"},
			{After: 120.06, Type: "up.gate", Message: "held at 10 %, waits for approval by ops: release approve"},
			{After: 240.1, Type: "up.done", Message: "r9 has all the traffic"},
		},
		Nodes: api.PlannedNodes{Now: 4, Peak: 9, Then: 5}, Holds: 240.1, Usual: 312, UsualOf: 5,
	}}
	p.ImageDiff = &diff.Result{A: diff.Side{Image: p.FromImage, Size: 1000}, B: diff.Side{Image: p.Image, Size: 2000},
		Packages: []diff.Package{{Name: "openssl", From: "3.0.11", To: "3.0.15", Change: diff.Upgraded}}}
	at := time.Date(2026, 1, 2, 3, 4, 0, 0, time.Local)
	p.Freeze = &api.Freeze{By: "ann@laptop", Reason: "the sale is on", At: at, Until: at.Add(2 * time.Hour)}
	var b bytes.Buffer
	o.plan(&b, p, "shop.plan")
	b.WriteString("---\n")
	o.plan(&b, planResult{DryRun: true, Plan: api.Plan{App: "shop", Env: "staging", Kind: "launch", Release: "r2", Waits: "the word of an oracle",
		Nodes: api.PlannedNodes{Peak: 1, Then: 1}, Schedule: []api.Moment{{Message: "the image of r2 is in place"}}}}, "")
	b.WriteString("---\n")
	o.plan(&b, planResult{Plan: api.Plan{App: "shop", Env: "production", Kind: "up", Release: "r9", Nothing: true}}, "")
	golden(t, "testdata/plan.golden", b.Bytes())
}
