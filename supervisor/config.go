package supervisor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Schema is the version of the file's form.
const Schema = 1

// Restart says when a service that ended is started again.
type Restart string

// Policies. "" is Never.
const (
	Never     Restart = "no"
	OnFailure Restart = "on-failure"
	Always    Restart = "always"
)

// DefaultGrace is how long a service that was asked to stop may take.
const DefaultGrace = 10 * time.Second

// Config is the whole file.
type Config struct {
	Schema   int       `json:"schema"`
	Prefix   bool      `json:"prefix,omitempty"`
	Services []Service `json:"services"`
}

// Service is one program.
type Service struct {
	Name    string   `json:"name"`
	Cmd     []string `json:"cmd"`
	Restart Restart  `json:"restart,omitempty"`
	User    string   `json:"user,omitempty"`
	Env     []string `json:"env,omitempty"`
	Dir     string   `json:"dir,omitempty"`
	After   []string `json:"after,omitempty"`
	Stop    Stop     `json:"stop,omitzero"`
}

// Stop says how a service is ended.
type Stop struct {
	Signal string   `json:"signal,omitempty"` // name without SIG; "" is TERM
	Grace  Duration `json:"grace,omitempty"`  // 0 is DefaultGrace
}

// Duration is a time.Duration that is written as text, such as "10s".
type Duration time.Duration

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration; a negative one is an error.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err == nil && v < 0 {
		err = fmt.Errorf("%s is negative", text)
	}
	*d = Duration(v)
	return err
}

// Parse reads and checks a file.
func Parse(data []byte) (Config, error) {
	var c Config
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("read services: %w", err)
	}
	if err := c.check(); err != nil {
		return Config{}, fmt.Errorf("read services: %w", err)
	}
	return c, nil
}

// Encode writes a file, the same bytes for the same content.
func (c Config) Encode() ([]byte, error) {
	c.Schema = Schema
	c.Services = slices.Clone(c.Services)
	slices.SortFunc(c.Services, func(a, b Service) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("write services: %w", err)
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write services: %w", err)
	}
	return append(data, '\n'), nil
}

func (c Config) check() error {
	if c.Schema != Schema {
		return fmt.Errorf("schema %d is not known, only %d", c.Schema, Schema)
	}
	if len(c.Services) == 0 {
		return errors.New("there are none")
	}
	names := map[string]bool{}
	for _, s := range c.Services {
		switch {
		case s.Name == "" || names[s.Name]:
			return fmt.Errorf("name %q is empty or given twice", s.Name)
		case len(s.Cmd) == 0 || s.Cmd[0] == "":
			return fmt.Errorf("%s has no command", s.Name)
		case !slices.Contains([]Restart{"", Never, OnFailure, Always}, s.Restart):
			return fmt.Errorf("%s: restart %q is none of no, on-failure, always", s.Name, s.Restart)
		}
		names[s.Name] = true
	}
	_, err := Order(c.Services)
	return err
}

// Order puts services in the order in which they start. A service after one that does not exist, or after itself over
// whatever others, is an error.
func Order(list []Service) ([]Service, error) {
	left := slices.Clone(list)
	slices.SortStableFunc(left, func(a, b Service) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	for _, s := range left {
		for _, name := range s.After {
			if !named(left, name) {
				return nil, fmt.Errorf("%s is after %s, which does not exist", s.Name, name)
			}
		}
	}
	var out []Service
	for len(left) > 0 {
		i := slices.IndexFunc(left, func(s Service) bool {
			return !slices.ContainsFunc(s.After, func(name string) bool { return named(left, name) })
		})
		if i < 0 {
			return nil, fmt.Errorf("%s is after itself, over those that it is after", left[0].Name)
		}
		out = append(out, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return out, nil
}

func named(list []Service, name string) bool {
	return slices.ContainsFunc(list, func(s Service) bool { return s.Name == name })
}
