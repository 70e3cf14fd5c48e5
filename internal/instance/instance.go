// Package instance is what a machine is told when it boots, besides its image: the settings of one node. They come by a channel
// of whoever runs the machine (QEMU's fw_cfg) and are in no image, so a secret in them is in memory only.
//
// The form is JSON: {"schema":1,"hostname":…,"environment":{…},"command":[…],"files":[{"path":…,"data":base64,"mode":384,"owner":"1000:1000"}],
// "access_keys":["ssh-ed25519 …"]}. All but the schema may be missing.
package instance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// SettingName is the name under which QEMU passes settings on: opt/release/settings in the machine.
const SettingName = "release/settings"

const (
	schema  = 1
	maxSize = 4 << 20 // of the whole, in bytes
	maxName = 63      // of a host name (RFC 1123)
)

// Settings are those of one machine.
type Settings struct {
	Schema      int               `json:"schema"`
	Hostname    string            `json:"hostname,omitempty"`
	Environment map[string]string `json:"environment,omitempty"` // of all services, over the image's
	Command     []string          `json:"command,omitempty"`     // run instead of the image's services; empty: they
	Files       []File            `json:"files,omitempty"`       // written before the services start
	AccessKeys  []string          `json:"access_keys,omitempty"` // OpenSSH public keys that may log in as root, where the image has a server
}

// File is a file in memory.
type File struct {
	Path  string `json:"path"` // absolute and clean
	Data  []byte `json:"data"`
	Mode  uint32 `json:"mode,omitempty"`  // permissions; 0 is 0600
	Owner string `json:"owner,omitempty"` // user, user:group or numbers; "" is root
}

// Encode gives the bytes that the machine is handed.
func (s Settings) Encode() ([]byte, error) {
	s.Schema = schema
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("write instance settings: %w", err)
	}
	data, err := json.Marshal(s)
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("they have %d bytes, more than %d", len(data), maxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("write instance settings: %w", err)
	}
	return data, nil
}

// Parse reads them. Nothing of what is wrong is taken; an error names the setting and never its value.
func Parse(data []byte) (Settings, error) {
	var s Settings
	if len(data) > maxSize {
		return s, fmt.Errorf("read instance settings: they have %d bytes, more than %d", len(data), maxSize)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Settings{}, fmt.Errorf("read instance settings: %w", err)
	}
	if err := s.check(); err != nil {
		return Settings{}, fmt.Errorf("read instance settings: %w", err)
	}
	return s, nil
}

func (s Settings) check() error {
	if s.Schema != schema {
		return fmt.Errorf("they have schema %d, not %d", s.Schema, schema)
	}
	if s.Hostname != "" && !hostname(s.Hostname) {
		return fmt.Errorf("%q is no host name", s.Hostname)
	}
	for name, value := range s.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00\n") || strings.Contains(value, "\x00") {
			return fmt.Errorf("an environment variable has the name %q, or a zero byte in its value", name)
		}
	}
	for _, f := range s.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" || strings.Contains(f.Path, "\x00") {
			return fmt.Errorf("a file has the path %q", f.Path)
		}
		if f.Mode > 0o7777 {
			return fmt.Errorf("file %s has the mode %o", f.Path, f.Mode)
		}
	}
	for i, k := range s.AccessKeys {
		if k == "" || strings.ContainsAny(k, "\n\x00") {
			return fmt.Errorf("access key %d is not one line", i+1)
		}
	}
	return nil
}

// hostname allows what RFC 1123 does in one label.
func hostname(name string) bool {
	if len(name) > maxName || strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-") {
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
}
