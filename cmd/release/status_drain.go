package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/human"
)

// fleetLeft is what a fleet still holds for its clients, and for how long; "" when there is nothing to tell.
func fleetLeft(fl api.Fleet, now time.Time) string {
	ends := fl.State == "draining" || fl.State == "shooting"
	var parts []string
	if n := fl.InFlight - fl.Long; n > 0 && ends {
		parts = append(parts, human.Count(n, "request"))
	}
	if fl.Long > 0 {
		parts = append(parts, human.Count(fl.Long, "long connection"))
	}
	if !fl.Sessions.IsZero() {
		parts = append(parts, "sessions for "+span(max(fl.Sessions.Sub(now), 0)))
	}
	switch {
	case fl.Closing && fl.Long > 0:
		parts = append(parts, "being closed")
	case ends && len(parts) > 0 && fl.Sessions.IsZero() && !fl.Deadline.IsZero():
		parts = append(parts, "for "+span(max(fl.Deadline.Sub(now), 0))+" at most")
	}
	return strings.Join(parts, ", ")
}

// nodeLeft is the same of a node that leaves.
func nodeLeft(n api.Node, now time.Time) string {
	if n.State != "draining" || n.InFlight == 0 {
		return ""
	}
	text := human.Count(n.InFlight, "request")
	if n.Long > 0 {
		text = fmt.Sprintf("%s, %d of them long", text, n.Long)
	}
	return text + ", for " + span(max(n.Deadline.Sub(now), 0)) + " at most"
}
