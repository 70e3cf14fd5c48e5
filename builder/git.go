package builder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/atomicfile"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// gitStep puts a commit's files into the image, as they are in the repository: no filters, no line ends changed.
type gitStep struct {
	recipes.Git
	pin   *recipes.LockedGit
	label string // of an extension; "" for one of git
	owner string // "" is root:root
}

func (g *gitStep) name() string {
	if g.label != "" {
		return g.label
	}
	return short("git " + g.URL + " at " + g.Ref)
}

func (g *gitStep) at() recipes.Position { return g.Pos }

var commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// pinGit pins a ref to the commit that it is now.
func (b *bake) pinGit(ctx context.Context, g recipes.Git, pin *recipes.LockedGit) (recipes.LockedGit, error) {
	if pin != nil && commitPattern.MatchString(pin.Commit) {
		return *pin, nil
	}
	return b.resolveGit(ctx, &gitStep{Git: g})
}

// resolveGit asks which commit a step's ref is now.
func (b *bake) resolveGit(ctx context.Context, g *gitStep) (recipes.LockedGit, error) {
	r, err := b.openRepository(ctx, g.URL, g.name())
	if err != nil {
		return recipes.LockedGit{}, inStep(g, err)
	}
	defer r.close()
	commit, date, err := r.resolve(ctx, g.Ref)
	if err != nil {
		return recipes.LockedGit{}, inStep(g, err)
	}
	return recipes.LockedGit{URL: g.URL, Ref: g.Ref, Commit: commit, Date: date}, nil
}

func (g *gitStep) make(ctx context.Context, b *bake, st *state) (outcome, error) {
	var reader *blobReader
	defer func() {
		if reader != nil {
			reader.close()
		}
	}()
	s := fileStep{name: g.name(), to: []string{g.To}, owner: g.owner, inputs: keyOf("git", g.pin.Commit)}
	s.files = func(ctx context.Context) ([][]file, error) {
		r, err := b.openRepository(ctx, g.URL, g.name())
		if err != nil {
			return nil, err
		}
		defer r.close()
		if err := r.bring(ctx, g.pin.Commit, g.Ref); err != nil {
			return nil, err
		}
		if reader, err = r.blobs(ctx); err != nil {
			return nil, err
		}
		list, err := r.list(ctx, g.pin.Commit, reader)
		return [][]file{list}, err
	}
	return s.make(ctx, b, st)
}

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

// list gives the files of a commit.
func (r *repository) list(ctx context.Context, commit string, blobs *blobReader) ([]file, error) {
	out, err := r.command(ctx, "ls-tree", "-r", "-t", "-z", "-l", "--full-tree", commit).Output()
	if err != nil {
		return nil, fmt.Errorf("list commit %s: %w", commit, err)
	}
	files := []file{{rel: ".", kind: images.Dir, mode: 0o755}}
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if entry == "" {
			continue
		}
		f, err := r.file(entry, blobs)
		if err != nil {
			return nil, fmt.Errorf("list commit %s: %w", commit, err)
		}
		files = append(files, f)
	}
	sortFiles(files)
	return files, nil
}

// file reads an entry of git ls-tree -l: "mode type object size<tab>path".
func (r *repository) file(entry string, blobs *blobReader) (file, error) {
	meta, name, ok := strings.Cut(entry, "\t")
	fields := strings.Fields(meta)
	if !ok || len(fields) != 4 {
		return file{}, fmt.Errorf("unknown entry %q", entry)
	}
	rel, err := entryName(name)
	if err != nil {
		return file{}, fmt.Errorf("entry %q: %w", shortName(name), err)
	}
	f := file{rel: rel, mode: 0o755, kind: images.Dir}
	switch fields[0] {
	case "040000":
		return f, nil
	case "160000":
		r.b.note(r.step, "the submodule %s is left empty", rel)
		return f, nil
	}
	f.kind = images.File
	if f.size, err = strconv.ParseInt(fields[3], 10, 64); err != nil {
		return file{}, fmt.Errorf("entry %q: %w", shortName(name), err)
	}
	object := fields[2]
	f.open = func() (io.ReadCloser, error) { return blobs.open(object) }
	if fields[0] == "120000" {
		return linkFile(f)
	}
	if fields[0] != "100755" {
		f.mode = 0o644
	}
	return f, nil
}

// linkFile makes a file whose content is a link's target a link.
func linkFile(f file) (file, error) {
	r, err := f.open()
	if err != nil {
		return file{}, err
	}
	target, err := io.ReadAll(io.LimitReader(r, maxPath+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return file{}, err
	}
	if len(target) == 0 || len(target) > maxPath || bytes.ContainsRune(target, 0) {
		return file{}, fault.New(fault.Invalid, "link %s: its target is empty, too long or has a zero byte", f.rel)
	}
	return file{rel: f.rel, kind: images.Symlink, mode: 0o777, link: string(target)}, nil
}

// blobReader reads objects by one git process.
type blobReader struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (r *repository) blobs(ctx context.Context) (*blobReader, error) {
	cmd := r.command(ctx, "cat-file", "--batch")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start git: %w", err)
	}
	return &blobReader{cmd: cmd, in: in, out: bufio.NewReaderSize(out, 256<<10)}, nil
}

// open gives an object's content. It must be closed before the next is opened.
func (b *blobReader) open(object string) (io.ReadCloser, error) {
	if _, err := io.WriteString(b.in, object+"\n"); err != nil {
		return nil, fmt.Errorf("read object %s: %w", object, err)
	}
	head, err := b.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", object, err)
	}
	fields := strings.Fields(head)
	if len(fields) != 3 {
		return nil, fmt.Errorf("read object %s: git says %q", object, strings.TrimSpace(head))
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", object, err)
	}
	return &blob{Reader: io.LimitReader(b.out, size), out: b.out}, nil
}

func (b *blobReader) close() {
	_ = b.in.Close()
	_ = b.cmd.Wait()
}

// blob is one object's content in the stream.
type blob struct {
	io.Reader
	out *bufio.Reader
}

// Close skips what was not read, and the line end behind the content.
func (b *blob) Close() error {
	if _, err := io.Copy(io.Discard, b.Reader); err != nil {
		return err
	}
	_, err := b.out.Discard(1)
	return err
}
