package config

import "errors"

var errPending = errors.New("config: not built yet")

// Load reads a release.yaml, lays the environment's overlay over it and fills in the defaults; env "" is DefaultEnv. The
// error is a fault.List with all problems and their places, or fault.NotFound when there is no such file.
func Load(path, env string) (*App, error) { return nil, errPending }

// Find searches a release.yaml in start and the folders above it, and gives its path; fault.NotFound if there is none.
func Find(start string) (string, error) { return "", errPending }

// Redacted is a copy without values that look secret; references to secrets stay, since they are not the secrets.
func Redacted(a *App) *App { return a }

// YAML is the app as a release.yaml that Load reads back equal, with the same environment.
func (a *App) YAML() ([]byte, error) { return nil, errPending }

// Environments lists the environments that a release.yaml knows, sorted, DefaultEnv included.
func Environments(path string) ([]string, error) { return nil, errPending }

// Schema is the JSON Schema of release.yaml.
func Schema() []byte { return nil }

// LoadAgent reads an agent.yaml; path "" gives the defaults.
func LoadAgent(path string) (*Agent, error) { return nil, errPending }

// FindAgent is the path of the agent.yaml of the user or the system, "" if there is none.
func FindAgent() string { return "" }

// AgentSchema is the JSON Schema of agent.yaml.
func AgentSchema() []byte { return nil }
