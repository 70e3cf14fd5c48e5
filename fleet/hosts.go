package fleet

import (
	"context"
	"fmt"
	"strings"
)

// Host is one of the machines that a Hosted driver has nodes on.
type Host struct {
	Name   string
	Engine       // ID: of the one that answers; "" when it does not
	Err    error // why it does not answer; nil: it does
}

// Engine is how the engine of a host is reached, and which one it is: the same address may lead elsewhere from another machine.
type Engine struct {
	Where string
	ID    string // its own; "": whichever answers
}

// Hosted is implemented by drivers whose nodes are spread over hosts that their caller names. Calls that concern several hosts
// are done on those that answer, and then fail with a *HostsAway.
type Hosted interface {
	// Use says which hosts there are from now on: the engine of each by name. What is on others is not seen. Where another engine
	// answers than the one that is meant, the host does not answer.
	Use(hosts map[string]Engine)
	// Hosts asks every host whether it answers, for a few seconds at most, and lists them by name.
	Hosts(ctx context.Context) []Host
}

// HostsAway says that a call was done, but not on some hosts: they do not answer, and what is there is unknown. What the call
// returned of the others holds. It is an ErrUnavailable.
type HostsAway struct {
	Hosts []string // sorted
	Err   error    // of one of them
}

// Error names the hosts.
func (e *HostsAway) Error() string {
	return fmt.Sprintf("host %s does not answer: %v", strings.Join(e.Hosts, ", "), e.Err)
}

// Unwrap gives both ErrUnavailable and the cause.
func (e *HostsAway) Unwrap() []error { return []error{ErrUnavailable, e.Err} }
