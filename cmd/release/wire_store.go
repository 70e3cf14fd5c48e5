package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/orchestrator"
	"github.com/bootandshoot/release/store"
	"github.com/bootandshoot/release/store/consul"
	"github.com/bootandshoot/release/store/embedded"
)

const (
	// storeFile is the agent's store in the state folder, unless it is in Consul.
	storeFile = "store.db"
	// identityFile in the state folder says who the agent is, for as long as the folder lasts.
	identityFile = "agent.json"
	// agentLock in the state folder is locked by the one agent that works there.
	agentLock = "agent.lock"
)

// closingStore is a store that somebody has to close.
type closingStore interface {
	store.Store
	Close() error
}

// openStore opens the store that the settings name.
func (a *agent) openStore(ctx context.Context) (closingStore, error) {
	settings := a.settings.Store.Consul
	if settings == nil {
		return embedded.Open(filepath.Join(a.dir, storeFile))
	}
	reach, err := consulSettings(settings)
	if err != nil {
		return nil, fmt.Errorf("open store in Consul: %w", err)
	}
	return consul.Open(ctx, consul.Options{Settings: reach, Prefix: settings.Prefix, Client: a.name, Sole: true, Log: a.log})
}

// consulSettings reads what the settings refer to.
func consulSettings(c *config.Consul) (consulapi.Settings, error) {
	s := consulapi.Settings{Address: c.Address, CA: c.CA, Cert: c.Cert, Key: c.Key, ServerName: c.ServerName}
	if c.Token == "" {
		return s, nil
	}
	token, err := orchestrator.ReadSecret(c.Token)
	s.Token = strings.TrimSpace(token)
	return s, err
}

// identity is the content of identityFile.
type identity struct {
	Name string `json:"name"` // the host's name when the folder was new, and some letters
}

// nameForm is what agents are called: as other edges are, since an agent's name is that of its router, and part of keys in the store.
// Versions before minted up to 69 bytes.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,68}$`)

// agentName is the agent's name among those of an installation, minted once for each state folder.
func agentName(dir string) (string, error) {
	path := filepath.Join(dir, identityFile)
	var id identity
	b, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(b, &id); err != nil || id.Name == "" {
			return "", fault.New(fault.Failed, "read the agent's name: %s is damaged", path).WithHint("remove it: the agent gets another name")
		}
		if !nameForm.MatchString(id.Name) {
			return "", fault.New(fault.Invalid, "read the agent's name: %s has %q, which is not 1 to 69 of letters, digits, ., _ and -, beginning with a letter or a digit", path, id.Name).
				WithHint("put back the name that the agent had, or remove the file: the agent gets another name")
		}
		return id.Name, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the agent's name: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("mint the agent's name: %w", err)
	}
	id.Name = mintName(host)
	if b, err = json.Marshal(id); err != nil {
		return "", fmt.Errorf("mint the agent's name: %w", err)
	}
	return id.Name, atomicfile.Write(path, b, 0o600)
}

// mintName makes a name out of a host's, of which the kernel allows 64 bytes of any kind.
func mintName(host string) string {
	host = strings.Trim(notInNames.ReplaceAllString(host, "-"), "-_.")
	return strings.ToLower(cmp.Or(host[:min(len(host), 58)], "agent") + "-" + rand.Text()[:4])
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// lockTime is how long a predecessor that is just ending is waited for.
const lockTime = 2 * time.Second

// lockState makes sure that one agent works in the state folder. The lock is that of the open file: it ends with the process,
// however that ends. The file stays.
func lockState(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, agentLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || pause.For(ctx, lockTime/40) != nil {
			break
		}
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fault.New(fault.Busy, "another agent works in %s", dir).
			WithHint("use that agent, end it with `release agent stop`, or choose another folder with RELEASE_STATE_DIR")
	}
	return nil, fmt.Errorf("lock the state folder: %w", err)
}
