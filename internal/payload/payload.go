// Package payload carries the small static programs that go into images and machines: for each architecture one, whatever
// machine the image is made on. `make payload` builds them into the folder bin as NAME-ARCH.gz; they are no part of the repository, so
// a program that was built without them has none, and says how to get them.
package payload

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/bootandshoot/release/internal/fault"
)

// Names of programs.
const (
	Supervise = "supervise"     // runs the services of an image
	BootInit  = "boot-init"     // brings a machine from its kernel to its root file system
	Agent     = "machine-agent" // brings a machine from its root file system to its services
)

//go:embed all:bin
var programs embed.FS

// Program gives the bytes of a program for an architecture by its Go name, such as "amd64". Errors: fault.Unsupported when
// this build carries none.
func Program(name, arch string) ([]byte, error) { return program(programs, name, arch) }

// Key is a hash that differs where the program does. It costs less than the program.
func Key(name, arch string) (string, error) {
	packed, err := packed(programs, name, arch)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(packed)
	return hex.EncodeToString(sum[:]), nil
}

func packed(from fs.FS, name, arch string) ([]byte, error) {
	data, err := fs.ReadFile(from, "bin/"+name+"-"+arch+".gz")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Unsupported, "take program %s for %s: this build of release carries none", name, arch).
			WithHint("programs are carried for amd64 and arm64; a build from source gets them by: make build (or make payload, then go build)")
	}
	if err != nil {
		return nil, fmt.Errorf("take program %s for %s: %w", name, arch, err)
	}
	return data, nil
}

func program(from fs.FS, name, arch string) ([]byte, error) {
	packed, err := packed(from, name, arch)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("take program %s for %s: %w", name, arch, err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("take program %s for %s: %w", name, arch, err)
	}
	return data, nil
}
