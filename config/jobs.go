package config

import (
	"fmt"
	"regexp"
	"time"

	"github.com/bootandshoot/release/internal/cron"
	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// What becomes of a run that is due while another one of the same job is under way.
const (
	OverlapSkip  = "skip"  // it is left out
	OverlapQueue = "queue" // it begins when that one has ended; of several only one
)

// Job is a command that is run in a node of its own, by its schedule or by hand.
type Job struct {
	Cmd       Command  `yaml:"cmd,required,flow" json:"cmd" doc:"Text for /bin/sh -c, or a program and its arguments as a list; run in a node of its own, of the release that has the traffic."`
	Schedule  Schedule `yaml:"schedule,omitempty" json:"schedule,omitempty" doc:"When it runs: minute, hour, day of the month, month and day of the week as in crontab, in UTC; or @hourly, @daily, @weekly, @monthly, @yearly. Default: only by hand."`
	Timeout   Duration `yaml:"timeout" json:"timeout" doc:"A run that takes longer is stopped, and has failed." default:"1h"`
	OnOverlap string   `yaml:"on_overlap" json:"on_overlap" doc:"What becomes of a run that is due while another one is under way: skip leaves it out, queue begins it afterwards." default:"skip" enum:"skip,queue"`
}

// Command is a program and its arguments. In the file it may be text for /bin/sh -c.
type Command []string

// UnmarshalNode takes both forms.
func (c *Command) UnmarshalNode(n *strictyaml.Node, path string) error {
	words, err := strictyaml.DecodeCommand(n, path)
	*c = words
	return err
}

// JSONSchema of both forms.
func (*Command) JSONSchema() *jsonschema.Schema { return jsonschema.Command() }

// Schedule is when something is done again and again, as package cron reads it; "" is never.
type Schedule string

// String is the text form.
func (s Schedule) String() string { return string(s) }

// IsZero says that there is none.
func (s Schedule) IsZero() bool { return s == "" }

// UnmarshalText reads the text form.
func (s *Schedule) UnmarshalText(text []byte) error {
	if _, err := cron.Parse(string(text)); err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	*s = Schedule(text)
	return nil
}

// Next is the first time after the one given, in UTC; zero for no schedule, or one that a newer version wrote.
func (s Schedule) Next(after time.Time) time.Time {
	spec, err := cron.Parse(string(s))
	if err != nil {
		return time.Time{}
	}
	return spec.Next(after)
}

var jobPattern = regexp.MustCompile(`^[a-z]([a-z0-9_-]{0,38}[a-z0-9])?$`)

// leastTimeout keeps a mistyped unit from ending everything at once.
const leastTimeout = Duration(time.Second)

func (c *checker) jobs(jobs map[string]Job) {
	for _, name := range sortedKeys(jobs) {
		if !jobPattern.MatchString(name) {
			c.fail(c.root.LocateKey("jobs", name), "job %q must be 1 to 40 of a-z, 0-9, - and _, beginning with a letter", name)
		}
		if jobs[name].Timeout < leastTimeout && c.decodes(new(Duration), "jobs", name, "timeout") {
			c.fail(c.at("jobs", name, "timeout"), "jobs.%s.timeout must be at least %s", name, leastTimeout)
		}
	}
}
