package main

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// commandFile has the supervisor's configuration for a command that a machine runs instead of its services.
const commandFile = "/run/release/command.json"

// commandConfig is the supervisor's for one command that is not started again (package supervisor).
func commandConfig(command []string, c config) ([]byte, error) {
	service := map[string]any{"name": "main", "cmd": command, "restart": "no", "dir": c.Dir}
	if c.User != "" {
		service["user"] = c.User
	}
	return json.Marshal(map[string]any{"schema": 1, "services": []any{service}})
}

// supervise is the command that runs the services, or what is run instead of them.
func supervise(c config, instead []string) ([]string, error) {
	if len(instead) == 0 {
		return c.Supervise, nil
	}
	data, err := commandConfig(instead, c)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(commandFile), 0o755); err != nil {
		return nil, err
	}
	return []string{c.Supervise[0], commandFile}, os.WriteFile(commandFile, data, 0o600)
}
