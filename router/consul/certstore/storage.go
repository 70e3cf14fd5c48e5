// Package certstore keeps what edges get by ACME in Consul's key-value space, so that one of them obtains a certificate and all
// show it: accounts, certificates and their keys, challenges under way, and the locks that keep two from obtaining the same.
//
// Keys are certmagic's own, below PREFIX certs/. A value is a line "1 MTIME\n", the time of its writing in Unix nanoseconds, and
// then the bytes. Locks are below PREFIX certlocks/, each held by a session of 15 s that is renewed while the holder works: that
// of a dead edge is over after 30 s. Private keys lie there as they are: only edges may have a token that reads the prefix.
package certstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/consulapi"
	"github.com/bootandshoot/release/internal/fault"
)

const (
	format = "1 "
	// attempt bounds one call to Consul.
	attempt = 5 * time.Second
	ttl     = 15 * time.Second
	// lockDelay is how long the lock of a dead holder is given to nobody: what it still has under way ends.
	lockDelay = time.Second
	lockAgain = 500 * time.Millisecond
)

// Storage is a certmagic.Storage. Several processes may use one prefix.
type Storage struct {
	settings consulapi.Settings
	client   *api.Client
	prefix   string

	mu   sync.Mutex
	held map[string]holding // by name
}

// holding is a lock that this process has.
type holding struct {
	session string
	end     context.CancelFunc // of its renewals
}

var _ certmagic.Storage = (*Storage)(nil)

// New returns the storage of an installation's prefix, which ends in a slash; nothing is asked yet. fault.Invalid says which
// setting is wrong.
func New(settings consulapi.Settings, prefix string) (*Storage, error) {
	client, err := settings.Client()
	if err != nil {
		return nil, fmt.Errorf("share certificates through Consul: %w", err)
	}
	return &Storage{settings: settings, client: client, prefix: prefix, held: map[string]holding{}}, nil
}

func (s *Storage) key(name string) string { return s.prefix + "certs/" + strings.Trim(name, "/") }

func (s *Storage) lockKey(name string) string { return s.prefix + "certlocks/" + name }

// ask does one call and gives its error a class.
func (s *Storage) ask(ctx context.Context, doing, name string, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	if err := s.settings.Explain(call(ctx), consulapi.Policy(s.prefix)); err != nil {
		return fmt.Errorf("%s %s in Consul: %w", doing, name, err)
	}
	return nil
}

func reading(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
}

func writing(ctx context.Context) *api.WriteOptions { return (&api.WriteOptions{}).WithContext(ctx) }

// Store implements certmagic.Storage.
func (s *Storage) Store(ctx context.Context, name string, value []byte) error {
	head := format + strconv.FormatInt(time.Now().UnixNano(), 10) + "\n"
	return s.ask(ctx, "write", name, func(ctx context.Context) error {
		_, err := s.client.KV().Put(&api.KVPair{Key: s.key(name), Value: append([]byte(head), value...)}, writing(ctx))
		return err
	})
}

// Load implements certmagic.Storage: fs.ErrNotExist when there is none.
func (s *Storage) Load(ctx context.Context, name string) ([]byte, error) {
	value, _, err := s.load(ctx, name)
	return value, err
}

func (s *Storage) load(ctx context.Context, name string) (value []byte, modified time.Time, err error) {
	var pair *api.KVPair
	err = s.ask(ctx, "read", name, func(ctx context.Context) (err error) {
		pair, _, err = s.client.KV().Get(s.key(name), reading(ctx))
		return err
	})
	if err == nil && pair == nil {
		err = fmt.Errorf("read %s in Consul: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	return decode(pair)
}

// decode splits a value into its bytes and their time.
func decode(pair *api.KVPair) (value []byte, modified time.Time, err error) {
	head, value, found := bytes.Cut(pair.Value, []byte("\n"))
	text, known := strings.CutPrefix(string(head), format)
	nanos, err := strconv.ParseInt(text, 10, 64)
	if !found || !known || err != nil {
		return nil, time.Time{}, fault.New(fault.Failed, "read %s in Consul: the value is damaged, or not written by release", pair.Key)
	}
	return value, time.Unix(0, nanos), nil
}

// Delete implements certmagic.Storage: a folder goes with all that is in it.
func (s *Storage) Delete(ctx context.Context, name string) error {
	return s.ask(ctx, "remove", name, func(ctx context.Context) error {
		if _, err := s.client.KV().Delete(s.key(name), writing(ctx)); err != nil {
			return err
		}
		_, err := s.client.KV().DeleteTree(s.key(name)+"/", writing(ctx))
		return err
	})
}

// Exists implements certmagic.Storage.
func (s *Storage) Exists(ctx context.Context, name string) bool {
	_, err := s.Stat(ctx, name)
	return err == nil
}

// List implements certmagic.Storage: fs.ErrNotExist for a folder that has nothing.
func (s *Storage) List(ctx context.Context, folder string, recursive bool) ([]string, error) {
	under := strings.TrimSuffix(s.key(folder), "/") + "/"
	var keys []string
	err := s.ask(ctx, "list", folder, func(ctx context.Context) (err error) {
		keys, _, err = s.client.KV().Keys(under, "", reading(ctx))
		return err
	})
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("list %s in Consul: %w", folder, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return entries(strings.Trim(folder, "/"), under, keys, recursive), nil
}

// entries are the files and folders below a folder, all of them or the nearest.
func entries(folder, under string, keys []string, recursive bool) []string {
	var out []string
	for _, key := range keys {
		parts := strings.Split(strings.TrimPrefix(key, under), "/")
		if !recursive {
			parts = parts[:1]
		}
		for i := range parts {
			out = append(out, path.Join(folder, path.Join(parts[:i+1]...)))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Stat implements certmagic.Storage.
func (s *Storage) Stat(ctx context.Context, name string) (certmagic.KeyInfo, error) {
	value, modified, err := s.load(ctx, name)
	if err == nil {
		return certmagic.KeyInfo{Key: name, Modified: modified, Size: int64(len(value)), IsTerminal: true}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return certmagic.KeyInfo{}, err
	}
	if _, err := s.List(ctx, name, false); err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: name}, nil
}
