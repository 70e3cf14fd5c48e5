package swarm

import (
	"context"
	"fmt"
	"strings"
	"time"

	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/human"
)

// State is what a look at a Swarm found.
type State struct {
	Hosts, Managers int
	Away            []string // names of hosts that are down, or that the Swarm is not sure of
	Closed          []string // names of hosts that take no nodes: drained or paused
	Forgetful       bool     // it keeps no task that has ended: no jobs run there
	Registry        error    // why the registry does not answer; nil: it does, or there is none
}

// Summary is the state in one line, for people.
func (s State) Summary() string {
	text := fmt.Sprintf("%s, %s", human.Count(s.Hosts, "host"), human.Count(s.Managers, "manager"))
	if len(s.Away) > 0 {
		text += "; down: " + strings.Join(s.Away, ", ")
	}
	if len(s.Closed) > 0 {
		text += "; drained or paused: " + strings.Join(s.Closed, ", ")
	}
	return text
}

// Examine looks at a Swarm and its registry, and changes nothing. Of the options it needs Managers, Repository and PlainHTTP. The
// error is why no manager answers.
func Examine(ctx context.Context, o Options) (State, error) {
	managers, err := connect(o.Managers)
	if err != nil {
		return State{}, err
	}
	d := &Driver{opts: o, managers: managers, now: time.Now}
	defer d.Close()
	info, err := d.info(ctx)
	if err != nil {
		return State{}, err
	}
	hosts, err := d.hosts(ctx)
	if err != nil {
		return State{}, err
	}
	s := State{Hosts: len(hosts), Forgetful: forgetful(info)}
	for _, h := range hosts {
		if h.ManagerStatus != nil {
			s.Managers++
		}
		switch {
		case h.Status.State != dockerswarm.NodeStateReady:
			s.Away = append(s.Away, h.name)
		case !h.usable():
			s.Closed = append(s.Closed, h.name)
		}
	}
	if o.Repository != "" {
		s.Registry = images.CheckRegistry(ctx, o.Repository, o.PlainHTTP)
	}
	return s, nil
}
