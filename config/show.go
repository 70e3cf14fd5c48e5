package config

import (
	"bytes"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// Mask stands for a value that is not shown.
const Mask = "***"

// Redacted is a copy in which the values of environment variables that look secret are "***": by their names, or because
// they are URLs with a password in them. References to secrets stay, since they are not the secrets.
func Redacted(a *App) *App {
	shown := *a
	shown.roles = nil
	shown.Fleet.Env = masked(a.Fleet.Env)
	shown.Roles = maps.Clone(a.Roles)
	for name, role := range shown.Roles {
		role.Fleet.Env = masked(role.Fleet.Env)
		shown.Roles[name] = role
	}
	return &shown
}

// masked is a copy of variables without what looks secret.
func masked(env map[string]string) map[string]string {
	shown := maps.Clone(env)
	for name, value := range shown {
		if value != "" && (secretName(name) || secretValue(value)) {
			shown[name] = Mask
		}
	}
	return shown
}

func secretName(name string) bool {
	marks := []string{"PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "PRIVATE", "AUTH", "DSN"}
	return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(strings.ToUpper(name), mark) })
}

// secretValue finds passwords in URLs and private keys in PEM.
func secretValue(value string) bool {
	if strings.Contains(value, "PRIVATE KEY-----") {
		return true
	}
	if !strings.Contains(value, "://") {
		return false
	}
	u, err := url.Parse(value)
	return err != nil && strings.Contains(value, "@") || err == nil && u.User != nil
}

// YAML is the app as a release.yaml that Load reads back equal for the same environment. It is the same for equal apps.
func (a *App) YAML() ([]byte, error) {
	data, err := strictyaml.Encode(a)
	if err != nil {
		return nil, fmt.Errorf("show app %s: %w", a.App, err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "# environment %s, with all defaults\n", a.Env)
	out.Write(data)
	switch {
	case a.Promote != "":
		fmt.Fprintf(&out, "environments:\n  %s: {promote: %s}\n", a.Env, a.Promote)
		if a.Promote != DefaultEnv {
			fmt.Fprintf(&out, "  %s: {}\n", a.Promote)
		}
	case a.Env != DefaultEnv:
		fmt.Fprintf(&out, "environments:\n  %s: {}\n", a.Env)
	}
	return out.Bytes(), nil
}
