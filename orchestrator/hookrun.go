package orchestrator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/failpoint"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator/hook"
	"github.com/bootandshoot/release/store"
)

const (
	// hookLines is how many lines of a hook's output the journal gets; the rest is counted.
	hookLines = 200
	// hookSlack is how long beside its timeout a hook may take: its files, and its end when it does not want to.
	hookSlack = 30 * time.Second
)

// hookUnderWay is a hook that runs.
type hookUnderWay struct {
	app     Key
	subject string
	onAbort bool
	end     context.CancelFunc
}

// startHook runs a hook aside. It runs in the loop.
func (o *Orchestrator) startHook(ctx context.Context, s *State, a Action) {
	w, key := &o.world, a.Key()
	rel := s.release(a.Hook.Release)
	if rel == nil {
		return
	}
	agent := ctx
	ctx, end := context.WithTimeout(ctx, a.Hook.Timeout.Std()+hookSlack)
	w.running[key] = true
	w.hooks[key] = hookUnderWay{app: a.App, subject: a.Subject, onAbort: strings.HasPrefix(a.Point, string(config.OnAbort)), end: end}
	delete(w.output, key)
	go func() {
		defer end()
		failpoint.Begins(string(a.Kind))
		res := o.runHook(ctx, rel, a)
		failpoint.Ends(string(a.Kind))
		if agent.Err() != nil {
			return // it was cut off, and is run again by the next agent
		}
		o.post(func() {
			delete(w.hooks, key)
			o.performed(a, res, nil)
		})
	}()
}

// runHook runs a hook with the files of its release.
func (o *Orchestrator) runHook(ctx context.Context, rel *Release, a Action) Result {
	began := o.opts.Now()
	c, err := o.hookCommand(ctx, rel, a.Hook)
	if err != nil {
		return Result{Err: err, Final: true}
	}
	exit, err := o.opts.Hooks(ctx, c, o.hookOutput(a.Key()))
	switch {
	case err == nil && exit.Code != 0:
		err = errors.New("it " + exit.String())
	case err == nil:
		return Result{Done: true, Took: o.opts.Now().Sub(began)}
	}
	return Result{Err: err, Final: true}
}

// hookOutput takes a hook's lines into what is known, up to a number.
func (o *Orchestrator) hookOutput(key string) func(line string) {
	n := 0
	return func(line string) {
		if n++; n > hookLines {
			return
		}
		if n == hookLines {
			line = "… more is not kept"
		}
		o.post(func() { o.world.output[key] = append(o.world.output[key], line) })
	}
}

// hookCommand reads what a hook needs: its files and secrets.
func (o *Orchestrator) hookCommand(ctx context.Context, rel *Release, h *HookSpec) (hook.Command, error) {
	c := hook.Command{Args: h.Cmd, Env: maps.Clone(h.Env), Timeout: h.Timeout.Std()}
	if o.opts.Hooks == nil {
		return c, fault.New(fault.Unsupported, "this agent runs no hooks")
	}
	for _, f := range rel.Files {
		e, err := o.opts.Store.Get(ctx, fileKey(f.Digest))
		if err != nil {
			return c, fmt.Errorf("read %s of %s: %w", f.Path, rel.ID, err)
		}
		if digestOf(e.Value) != f.Digest {
			return c, fault.New(fault.Failed, "read %s of %s: it is damaged in the store", f.Path, rel.ID)
		}
		c.Files = append(c.Files, hook.File{Path: f.Path, Content: e.Value, Executable: f.Executable})
	}
	secrets, err := o.secrets(h.Secrets)
	if err != nil {
		return c, err
	}
	maps.Copy(c.Env, secrets)
	c.Mask = o.maskOf(rel, secrets)
	return c, nil
}

// maskOf hides the secrets of a release, and others, in a line.
func (o *Orchestrator) maskOf(rel *Release, more map[string]string) func(string) string {
	if o.opts.Mask == nil {
		return nil
	}
	values := maps.Clone(more)
	if values == nil {
		values = map[string]string{}
	}
	for _, role := range rel.Config.RoleNames() {
		for name, value := range o.readable(rel.Config.Role(role).Fleet.Secrets) {
			values[role+" "+name] = value
		}
	}
	return o.opts.Mask(values)
}

// maskRefs hides the secrets that a node has, in a line.
func (o *Orchestrator) maskRefs(refs map[string]string) func(string) string {
	if o.opts.Mask == nil {
		return func(line string) string { return line }
	}
	return o.opts.Mask(o.readable(refs))
}

// readable are the values of secrets. Those that cannot be read are none that could be printed.
func (o *Orchestrator) readable(refs map[string]string) map[string]string {
	values := map[string]string{}
	for name, ref := range refs {
		if value, err := o.opts.Secret(ref); err == nil {
			values[name] = value
		}
	}
	return values
}

// endHooks ends the hooks whose operation or fleet has no more use for them: it is over, or on its way back.
func (o *Orchestrator) endHooks() {
	for _, h := range o.world.hooks {
		if a := o.apps[h.app]; a == nil || !a.state.wantsHook(h) {
			h.end()
		}
	}
}

func (s *State) wantsHook(h hookUnderWay) bool {
	for _, op := range s.Operations {
		if operationSubject(s.Key, op) == h.subject {
			return op.Phase != PhaseAborting || h.onAbort
		}
	}
	return s.fleet(h.subject) != nil
}

// HookFile is a file that the hooks of a release need, kept in the store.
type HookFile struct {
	Path       string `json:"path"`   // relative to release.yaml, with slashes
	Digest     string `json:"digest"` // SHA-256, hex
	Executable bool   `json:"executable,omitempty"`
}

func fileKey(digest string) string { return filePrefix + digest }

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// MaxFile is the largest file that PutFile takes, in bytes.
const MaxFile = 256 << 10

// MissingFiles says which files the store lacks, by their SHA-256 in hex.
func (o *Orchestrator) MissingFiles(ctx context.Context, digests []string) ([]string, error) {
	if err := o.waitReady(ctx); err != nil {
		return nil, err
	}
	var missing []string
	for _, d := range digests {
		_, err := o.opts.Store.Get(ctx, fileKey(d))
		if errors.Is(err, store.ErrNotFound) {
			missing = append(missing, d)
		} else if err != nil {
			return nil, fmt.Errorf("look for file %s: %w", d, err)
		}
	}
	return missing, nil
}

// PutFile keeps a file, whose SHA-256 must be that digest. A file that no release names is forgotten when an agent starts.
func (o *Orchestrator) PutFile(ctx context.Context, digest string, r io.Reader) error {
	if err := o.waitReady(ctx); err != nil {
		return err
	}
	content, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return fmt.Errorf("keep file %s: %w", digest, err)
	}
	if len(content) > MaxFile || digestOf(content) != digest {
		return fault.New(fault.Invalid, "keep file %s: what came is another one, or more than %d bytes", digest, MaxFile)
	}
	_, err = o.opts.Store.Commit(ctx, store.Write{Key: fileKey(digest), Value: content, Any: true}, o.fence)
	if err != nil {
		return fmt.Errorf("keep file %s: %w", digest, err)
	}
	return nil
}

// haveFiles says which file of a request is missing.
func (o *Orchestrator) haveFiles(ctx context.Context, req Request) error {
	if len(req.Files) == 0 {
		return nil
	}
	var digests []string
	for _, f := range req.Files {
		digests = append(digests, f.Digest)
	}
	missing, err := o.MissingFiles(ctx, digests)
	if err != nil || len(missing) == 0 {
		return err
	}
	lacks := req.Files[slices.Index(digests, missing[0])]
	return fault.New(fault.NotFound, "%s %s: the agent lacks the hook's file %s", req.Kind, req.Key, lacks.Path).
		WithHint("the same command again brings it there")
}

// forgetFiles removes the files that no release names any more.
func (o *Orchestrator) forgetFiles(ctx context.Context) error {
	entries, err := o.opts.Store.List(ctx, filePrefix)
	if err != nil {
		return fmt.Errorf("forget files: %w", err)
	}
	var used []string
	for _, a := range o.apps {
		for _, rel := range a.state.Releases {
			for _, f := range rel.Files {
				used = append(used, fileKey(f.Digest))
			}
		}
	}
	for _, e := range entries {
		if slices.Contains(used, e.Key) {
			continue
		}
		if _, err := o.opts.Store.Commit(ctx, store.Write{Key: e.Key, Any: true}, o.fence); err != nil {
			return fmt.Errorf("forget files: %w", err)
		}
	}
	return nil
}
