package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
)

// repository is a bare repository in the cache; its file lock is held.
type repository struct {
	b    *bake
	url  string
	step string
	dir  string
	lock *os.File
}

// gitConfig is all the configuration that git gets. The repository of a file URL may belong to another user.
const gitConfig = `[safe]
	directory = *
[core]
	hooksPath = /dev/null
	fsmonitor = false
[gc]
	auto = 0
[maintenance]
	auto = false
[fetch]
	fsckObjects = true
[protocol "ext"]
	allow = never
`

func (b *bake) openRepository(ctx context.Context, url, step string) (*repository, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, fault.New(fault.Unsupported, "the program git is not installed").WithHint("install it: apt install git")
	}
	dir := b.cache.path("git", keyOf("git", url)[:32])
	lock, err := lockedFile(ctx, dir+".lock")
	if err != nil {
		return nil, err
	}
	r := &repository{b: b, url: url, step: step, dir: dir, lock: lock}
	if err := r.init(ctx); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *repository) init(ctx context.Context) error {
	config := r.b.cache.path("git", "config")
	if have, err := os.ReadFile(config); err != nil || string(have) != gitConfig {
		if err := atomicfile.Write(config, []byte(gitConfig), 0o644); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, "HEAD")); err == nil {
		return nil
	}
	_, err := r.git(ctx, "init", "--bare", "--quiet", "--template=", r.dir)
	return err
}

func (r *repository) close() { _ = r.lock.Close() }

// command prepares git with nothing of the user's configuration. Only what reaches the network passes: proxies,
// certificates and the ssh agent.
func (r *repository) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + r.b.cache.path("git", "config"), "GIT_TERMINAL_PROMPT=0",
		"GIT_ATTR_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0", "GIT_DIR=" + r.dir, "LC_ALL=C", "TZ=UTC",
		"GIT_SSH_COMMAND=ssh -o BatchMode=yes"}
	for _, name := range []string{"PATH", "HOME", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (r *repository) git(ctx context.Context, args ...string) (string, error) {
	cmd := r.command(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", fmt.Errorf("git %s: %w", args[0], ctx.Err())
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %s", args[0], lastLines(strings.TrimSpace(stderr.String()), 5))
	}
	return strings.TrimSpace(string(out)), nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// unreachable says that the repository did not give what was asked for.
func (r *repository) unreachable(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fault.New(fault.Unavailable, "get %s of %s: %w", what, r.url, err).
		WithHint("check the address and the ref; for a private repository use ssh with an agent")
}

// resolve finds the commit that a branch, tag or abbreviated commit is now, and its committer date.
func (r *repository) resolve(ctx context.Context, ref string) (string, time.Time, error) {
	if r.b.o.Offline {
		return "", time.Time{}, offline("resolve " + ref + " of " + r.url)
	}
	name := "FETCH_HEAD"
	if err := r.fetch(ctx, ref); err != nil {
		if err := r.fetchAll(ctx); err != nil {
			return "", time.Time{}, r.unreachable(ref, err)
		}
		name = ref
	}
	commit, err := r.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if err != nil || !commitPattern.MatchString(commit) {
		return "", time.Time{}, fault.New(fault.NotFound, "%s has no branch, tag or commit %s", r.url, ref).WithHint("check the recipe's ref")
	}
	seconds, err := r.git(ctx, "show", "--no-patch", "--format=%ct", commit)
	if err != nil {
		return "", time.Time{}, err
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("read date of commit %s: %w", commit, err)
	}
	return commit, time.Unix(n, 0).UTC(), nil
}

// fetch brings one ref or commit without its history.
func (r *repository) fetch(ctx context.Context, ref string) error {
	_, err := r.git(ctx, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", r.url, ref)
	return err
}

// fetchAll brings all branches and tags with their history, for what servers do not give by itself.
func (r *repository) fetchAll(ctx context.Context) error {
	r.b.note(r.step, "the server does not give the commit by itself: fetching all of the repository")
	args := []string{"fetch", "--quiet", "--force", "--tags", "--no-recurse-submodules"}
	if _, err := os.Stat(filepath.Join(r.dir, "shallow")); err == nil {
		args = append(args, "--unshallow")
	}
	_, err := r.git(ctx, append(args, "--", r.url, "+refs/heads/*:refs/heads/*")...)
	return err
}

// bring makes sure that a pinned commit is in the cache.
func (r *repository) bring(ctx context.Context, commit, ref string) error {
	if r.has(ctx, commit) {
		return nil
	}
	if r.b.o.Offline {
		return offline("get commit " + commit + " of " + r.url)
	}
	err := r.fetch(ctx, commit)
	if err == nil && r.has(ctx, commit) {
		return nil
	}
	if err = r.fetch(ctx, ref); err == nil && r.has(ctx, commit) {
		return nil
	}
	if err := r.fetchAll(ctx); err != nil {
		return r.unreachable("commit "+commit, err)
	}
	if !r.has(ctx, commit) {
		return fault.New(fault.NotFound, "%s does not have the pinned commit %s any more", r.url, commit).
			WithHint("remove its entry from the lockfile to take what %s is now", ref)
	}
	return nil
}

// has reports whether a commit with all its files is in the cache.
func (r *repository) has(ctx context.Context, commit string) bool {
	_, err := r.git(ctx, "rev-list", "--objects", "--quiet", "--no-walk", commit)
	return err == nil
}
