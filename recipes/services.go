package recipes

import (
	"maps"
	"slices"
	"time"
)

// Restart says when an ended service is started again.
type Restart string

// Policies of restarting.
const (
	RestartNo        Restart = "no" // the image ends with the service
	RestartOnFailure Restart = "on-failure"
	RestartAlways    Restart = "always"
)

// Service is a program of the image.
type Service struct {
	Name    string
	Cmd     []string
	Restart Restart
	User    string // "" is the image's
	Env     map[string]string
	Workdir string   // absolute; "" is the recipe's workdir
	After   []string // services that are started before
	Signal  string   // that asks it to end: "TERM" and the like
	Grace   time.Duration
	Pos     Position
}

// plain reports whether running the command is all there is to the service.
func (s Service) plain() bool {
	return s.Restart == RestartNo && s.User == "" && len(s.Env) == 0 && s.Workdir == "" && s.Signal == defaultSignal && s.Grace == defaultGrace
}

// What a service has unless it says otherwise.
const (
	defaultSignal = "TERM"
	defaultGrace  = 10 * time.Second
)

// Supervised reports whether the image needs a program that looks after its services: there are several, or one that
// asks for more than being run.
func (r *Recipe) Supervised() bool {
	for _, s := range r.Services {
		return len(r.Services) > 1 || !s.plain()
	}
	return false
}

// Command is what a node of the image runs when nothing looks after its services: that of the one service, else the
// entrypoint; nil for none.
func (r *Recipe) Command() []string {
	for _, name := range slices.Sorted(maps.Keys(r.Services)) {
		return r.Services[name].Cmd
	}
	return r.Entrypoint
}
