// Package tails keeps the ends of the output of nodes that were removed, in files of the agent's, whatever driver ran the
// nodes.
//
//	DIR/APP/ENV/NODE.log        a line of JSON that says what node it was (type head), then lines as fleet.Logger has them
//	DIR/APP/ENV/NODE.once.log   the same of the node of a job
//
// Files are written whole and renamed. What is kept is bounded by node, by app and environment, and in total; the oldest go
// first. Jobs have bounds of their own: one that runs each minute must not push out the last words of nodes.
package tails

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/fleet"
)

// defaultTotal bounds what is kept of nodes, and jobsShare is the part of that which jobs may have beside it: 64 MiB in all.
const (
	defaultTotal = 48 << 20
	jobsShare    = 3
)

// How the names of files end. No node's name has a dot.
const (
	ending     = ".log"
	endingOnce = ".once.log"
)

// Options say where and how much is kept.
type Options struct {
	Dir   string
	Nodes int              // of each app and environment, and as many of jobs; 0: 20
	Total int64            // bytes of nodes, and a third as many of jobs; 0: 48 MiB
	Now   func() time.Time // nil: time.Now
}

// Archive is a folder of tails. It is safe for concurrent use by one process.
type Archive struct {
	opts Options
	mu   sync.Mutex
}

var _ fleet.Tails = (*Archive)(nil)

// head is the first line of a file.
type head struct {
	Fleet fleet.FleetID `json:"fleet"`
	Node  string        `json:"node"`
	At    time.Time     `json:"at"`
}

// New returns the archive in a folder, which is made when something is kept.
func New(opts Options) *Archive {
	opts.Nodes = cmp.Or(opts.Nodes, 20)
	opts.Total = cmp.Or(opts.Total, defaultTotal)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Archive{opts: opts}
}

// name is the form of what becomes a file's name.
var name = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Keep implements fleet.Tails.
func (a *Archive) Keep(id fleet.NodeID, kind fleet.Kind, lines io.Reader) error {
	if err := a.keep(id, kind, lines); err != nil {
		return fmt.Errorf("keep the last output of %s: %w", id.Node, err)
	}
	return nil
}

func (a *Archive) keep(id fleet.NodeID, kind fleet.Kind, lines io.Reader) error {
	dir, err := a.folder(id.Fleet.App, id.Fleet.Env)
	if err != nil {
		return err
	}
	if !name.MatchString(id.Node) {
		return fmt.Errorf("%q is no name of a node", id.Node)
	}
	text, err := lastOf(lines)
	if len(text) == 0 {
		return err
	}
	first, headErr := json.Marshal(head{Fleet: id.Fleet, Node: id.Node, At: a.opts.Now().UTC()})
	if headErr != nil {
		return headErr
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	total, end := a.opts.Total, ending
	if kind == fleet.Once {
		total, end = a.opts.Total/jobsShare, endingOnce
	}
	path := filepath.Join(dir, id.Node+end)
	// A loss of power may cost what is kept, and nothing depends on it: it is not worth the wait for the disk.
	if err := os.WriteFile(path+".new", slices.Concat(first, []byte("\n"), text), 0o600); err != nil {
		return err
	}
	return errors.Join(err, os.Rename(path+".new", path), a.trim(dir, end, total))
}

// lastOf reads all and gives the last whole lines, about fleet.TailBytes. What was read before an error is given too.
func lastOf(r io.Reader) ([]byte, error) {
	var text []byte
	part := make([]byte, 32<<10)
	for {
		n, err := r.Read(part)
		if text = append(text, part[:n]...); len(text) > 2*fleet.TailBytes {
			text = slices.Clone(lastLines(text))
		}
		if errors.Is(err, io.EOF) {
			return lastLines(text), nil
		}
		if err != nil {
			return lastLines(text), err
		}
	}
}

func lastLines(text []byte) []byte {
	if len(text) <= fleet.TailBytes {
		return text
	}
	text = text[len(text)-fleet.TailBytes:]
	return text[bytes.IndexByte(text, '\n')+1:]
}

func (a *Archive) folder(app, env string) (string, error) {
	if !name.MatchString(app) || !name.MatchString(env) {
		return "", fmt.Errorf("%s/%s is no app and environment", app, env)
	}
	return filepath.Join(a.opts.Dir, app, env), nil
}

// kept is a file of the archive.
type kept struct {
	path string
	at   time.Time
	size int64
}

// trim removes the oldest files of one ending in one folder, and in all, where they may have total bytes; the lock is held.
func (a *Archive) trim(dir, end string, total int64) error {
	own, err := files(dir, end)
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range own[:max(0, len(own)-a.opts.Nodes)] {
		errs = append(errs, os.Remove(k.path))
	}
	all, err := files(filepath.Join(a.opts.Dir, "*", "*"), end)
	errs = append(errs, err)
	for _, k := range slices.Backward(all) {
		if total -= k.size; total < 0 {
			errs = append(errs, os.Remove(k.path))
		}
	}
	return errors.Join(errs...)
}

// files are those with an ending in the folders of a pattern, oldest first.
func files(pattern, end string) ([]kept, error) {
	paths, err := filepath.Glob(filepath.Join(pattern, "*"+end))
	var list []kept
	for _, path := range paths {
		if end == ending && strings.HasSuffix(path, endingOnce) {
			continue
		}
		if info, err := os.Stat(path); err == nil {
			list = append(list, kept{path, info.ModTime(), info.Size()})
		}
	}
	slices.SortFunc(list, older)
	return list, err
}

func older(a, b kept) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.path, b.path)) }

// List is what is kept of an app's nodes in an environment, the oldest first.
func (a *Archive) List(app, env string) ([]fleet.Tail, error) {
	dir, err := a.folder(app, env)
	if err != nil {
		return nil, fmt.Errorf("list kept output: %w", err)
	}
	nodes, err := files(dir, ending)
	jobs, jobsErr := files(dir, endingOnce)
	if err := errors.Join(err, jobsErr); err != nil {
		return nil, fmt.Errorf("list kept output: %w", err)
	}
	list := slices.Concat(nodes, jobs)
	slices.SortFunc(list, older)
	var all []fleet.Tail
	for _, k := range list {
		f, h, err := open(k.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed this moment
		}
		if err != nil {
			return nil, fmt.Errorf("list kept output: %w", err)
		}
		_ = f.Close()
		all = append(all, fleet.Tail{ID: fleet.NodeID{Fleet: h.Fleet, Node: h.Node}, At: h.At, Bytes: k.size})
	}
	return all, nil
}

// tail is a file's lines, behind its head.
type tail struct {
	*bufio.Reader
	io.Closer
}

func open(path string) (tail, head, error) {
	f, err := os.Open(path)
	if err != nil {
		return tail{}, head{}, err
	}
	r := bufio.NewReader(f)
	first, err := r.ReadBytes('\n')
	var h head
	if err == nil {
		err = json.Unmarshal(first, &h)
	}
	if err != nil {
		_ = f.Close()
		return tail{}, head{}, fmt.Errorf("read %s: %w", path, err)
	}
	return tail{r, f}, h, nil
}

// Open reads what is kept of a node that was removed; fleet.ErrNoNode when there is nothing.
func (a *Archive) Open(app, env, node string, opts fleet.LogOptions) (io.ReadCloser, error) {
	dir, err := a.folder(app, env)
	if err != nil || !name.MatchString(node) {
		return nil, fmt.Errorf("output kept of %q: %w", node, fleet.ErrNoNode)
	}
	t, _, err := open(filepath.Join(dir, node+ending))
	if errors.Is(err, fs.ErrNotExist) {
		t, _, err = open(filepath.Join(dir, node+endingOnce))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("output kept of %s: %w", node, fleet.ErrNoNode)
	}
	if err != nil {
		return nil, fmt.Errorf("output kept of %s: %w", node, err)
	}
	defer t.Close()
	text, err := io.ReadAll(t)
	if err != nil {
		return nil, fmt.Errorf("output kept of %s: %w", node, err)
	}
	return io.NopCloser(strings.NewReader(chosen(string(text), opts))), nil
}

// chosen is the lines that the options ask for.
func chosen(text string, opts fleet.LogOptions) string {
	lines := slices.Collect(strings.Lines(text))
	if !opts.Since.IsZero() {
		lines = slices.DeleteFunc(lines, func(line string) bool {
			stamp, _, _ := strings.Cut(line, " ")
			at, err := time.Parse(time.RFC3339Nano, stamp)
			return err == nil && at.Before(opts.Since)
		})
	}
	if opts.Tail > 0 {
		lines = lines[max(0, len(lines)-opts.Tail):]
	}
	return strings.Join(lines, "")
}

// Forget removes what is kept of an app's nodes in an environment.
func (a *Archive) Forget(app, env string) error {
	dir, err := a.folder(app, env)
	if err != nil {
		return fmt.Errorf("forget kept output: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("forget kept output: %w", err)
	}
	_ = os.Remove(filepath.Dir(dir)) // fails while other environments have something
	return nil
}
