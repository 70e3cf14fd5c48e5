package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/console"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/unixsock"
	"github.com/bootandshoot/release/orchestrator"
)

// fake is an orchestrator of one app whose operation the test moves on.
type fake struct {
	console.Archive // what no test asks
	reading         orchestrator.Reading
	mu              sync.Mutex
	status          orchestrator.Status
	op              orchestrator.Operation
	events          []orchestrator.Event
	changed         chan struct{}
	asked           orchestrator.Request
	steered         string
	refuse          error
}

func newFake() *fake {
	f := &fake{changed: make(chan struct{})}
	f.status.State.Key = orchestrator.Key{App: "shop", Env: "production"}
	f.op = orchestrator.Operation{ID: "op-1", Kind: orchestrator.KindUp, At: time.Unix(1000, 0), Release: "r1"}
	return f
}

// move changes the fake and wakes who waits.
func (f *fake) move(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) Submit(_ context.Context, r orchestrator.Request) (orchestrator.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = r
	return f.op, f.refuse
}

func (f *fake) Steer(_ context.Context, _ orchestrator.Key, w orchestrator.Word) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steered = w.Verb + " by " + w.By
	return []string{w.Name}, nil
}

func (f *fake) Plan(_ context.Context, r orchestrator.Request) (orchestrator.Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = r
	return orchestrator.Plan{Kind: r.Kind, Key: r.Key, Holds: 2 * time.Minute, Basis: orchestrator.Basis{Image: r.Image}}, f.refuse
}

func (f *fake) Operation(_ context.Context, _ orchestrator.Key, id string) (orchestrator.Operation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if id != f.op.ID {
		return orchestrator.Operation{}, fault.New(fault.NotFound, "find operation %s", id)
	}
	return f.op, nil
}

func (f *fake) Drift(_ context.Context, _ orchestrator.Key, node string) (orchestrator.Drifted, error) {
	return orchestrator.Drifted{Total: 2, Changes: []orchestrator.Change{{What: "file", How: "added", Path: "/" + node}}}, f.refuse
}

func (f *fake) Traffic(context.Context, orchestrator.Key) (orchestrator.Reading, error) {
	return f.reading, nil
}

func (f *fake) Status(context.Context, orchestrator.Key) (orchestrator.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status, nil
}

func (f *fake) Keys() []orchestrator.Key { return []orchestrator.Key{f.status.State.Key} }

func (f *fake) Events(_ context.Context, _ orchestrator.Key, after uint64, limit int) ([]orchestrator.Event, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []orchestrator.Event
	for _, e := range f.events {
		if e.Seq > after && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

// EventsBefore: the test's entries are a second apart.
func (f *fake) EventsBefore(_ context.Context, _ orchestrator.Key, at time.Time) (uint64, error) {
	return uint64(at.Unix() - 1), nil
}

func (f *fake) History(context.Context, orchestrator.Key) ([]orchestrator.Operation, error) {
	return []orchestrator.Operation{f.op}, nil
}

func (f *fake) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

func (f *fake) Logs(_ context.Context, _ orchestrator.Key, node string, o orchestrator.LogOptions) (io.ReadCloser, error) {
	if node != "n1" {
		return nil, fault.New(fault.NotFound, "no node %s", node)
	}
	return io.NopCloser(strings.NewReader(fmt.Sprintf("tail %d follow %t\n", o.Tail, o.Follow))), nil
}

func (f *fake) Previous(context.Context, orchestrator.Key) ([]orchestrator.Tail, error) {
	return nil, nil
}

func (f *fake) CopyOut(_ context.Context, _ orchestrator.Key, _, path string) (io.ReadCloser, error) {
	if path != "/file" {
		return nil, fault.New(fault.NotFound, "no file %s", path)
	}
	return io.NopCloser(io.MultiReader(strings.NewReader("archive"), iotest.ErrReader(errors.New("it broke")))), nil
}

func (f *fake) RunTask(_ context.Context, r orchestrator.TaskRequest) (orchestrator.Task, error) {
	if r.Job == "busy" {
		return orchestrator.Task{}, fault.New(fault.Busy, "job busy is run by bob")
	}
	return orchestrator.Task{ID: "task-1", By: r.By, Command: r.Command, Phase: orchestrator.TaskPreparing, Attached: r.Attached}, nil
}

func (f *fake) StopTask(context.Context, orchestrator.Key, string, string) error { return nil }

func (f *fake) Task(_ context.Context, _ orchestrator.Key, id string) (orchestrator.Task, error) {
	at := time.Unix(100, 0)
	return orchestrator.Task{ID: id, Phase: orchestrator.TaskDone, Code: 3, Started: at, Finished: at.Add(2 * time.Second), Ended: at.Add(3 * time.Second)}, nil
}

func (f *fake) Tasks(_ context.Context, k orchestrator.Key, job string) ([]orchestrator.Task, error) {
	t, err := f.Task(context.Background(), k, "task-7")
	t.Job = job
	return []orchestrator.Task{t}, err
}

func (f *fake) TaskOutput(_ context.Context, _ orchestrator.Key, id string, since time.Time) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(since.UTC().Format(time.RFC3339Nano) + " out of " + id + "\n")), nil
}

func (f *fake) MissingFiles(_ context.Context, digests []string) ([]string, error) {
	return digests[1:], nil
}

func (f *fake) PutFile(_ context.Context, digest string, r io.Reader) error {
	text, err := io.ReadAll(r)
	if err == nil && string(text) != digest {
		err = fault.New(fault.Invalid, "keep file %s: it is another", digest)
	}
	return err
}

// Exec copies its input to its output, says its sizes on stderr and exits with 7.
func (f *fake) Exec(ctx context.Context, _ orchestrator.Key, node string, s orchestrator.ExecSpec) (int, error) {
	if s.Command[0] == "wait" {
		<-ctx.Done()
		f.move(func() { f.steered = "exec ended" })
		return 0, ctx.Err()
	}
	if s.Stdin != nil {
		if _, err := io.Copy(s.Stdout, s.Stdin); err != nil {
			return 0, err
		}
	}
	if s.TTY {
		fmt.Fprintf(s.Stderr, "%d then %d", s.Window.Columns, (<-s.Resize).Columns)
	}
	return 7, nil
}

// images is a store in memory.
type images struct {
	mu    sync.Mutex
	blobs map[string]string
	name  string
}

func (i *images) Has(digest string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, ok := i.blobs[digest]
	return ok
}

func (i *images) Write(_ context.Context, b api.Blob, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.blobs[b.Digest] = string(data)
	return nil
}

func (i *images) Tag(_ context.Context, digest, name string) error {
	if !i.Has(digest) {
		return fault.New(fault.NotFound, "no blob %s", digest)
	}
	i.name = name
	return nil
}

// serve starts a console on a real socket and returns its client.
func serve(t *testing.T, f *fake, store *images, stop func()) *api.Client {
	t.Helper()
	return serveWith(t, console.Options{Orchestrator: f, Images: store, Agent: api.Agent{Version: "v1", PID: 42}, Stop: stop})
}

func serveWith(t *testing.T, opts console.Options) *api.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), api.SocketName)
	l, err := unixsock.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	srv := console.New(opts)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return api.NewClient(path)
}

func shop() api.App { return api.App{App: "shop", Env: "production"} }

func TestAgentAndApps(t *testing.T) {
	stopped := make(chan struct{})
	c := serve(t, newFake(), nil, func() { close(stopped) })
	a, err := c.Agent(t.Context())
	if err != nil || a.PID != 42 || a.Version != "v1" {
		t.Errorf("agent: %+v, %v", a, err)
	}
	apps, err := c.Apps(t.Context())
	if err != nil || len(apps) != 1 || apps[0] != shop() {
		t.Errorf("apps: %v, %v", apps, err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-stopped
}

func TestSubmitWaitAndSteer(t *testing.T) {
	f := newFake()
	f.status.State.EventSeq = 9
	c := serve(t, f, nil, nil)
	sub, err := c.Submit(t.Context(), shop(), api.Request{
		Kind: "up", By: "ann@laptop", Image: "sha256:1", Config: []byte(`{"app":"shop","env":"production","fleet":{"size":3},"route":{"listen":":8080"}}`), KeepFailed: true,
	})
	if err != nil || sub.Operation.ID != "op-1" || sub.EventSeq != 9 {
		t.Fatalf("submit: %+v, %v", sub, err)
	}
	if f.asked.Config == nil || f.asked.Config.Fleet.Size != 3 || f.asked.By != "ann@laptop" || !f.asked.KeepFailed {
		t.Errorf("the orchestrator was asked %+v", f.asked)
	}
	ended := make(chan api.Operation, 1)
	go func() {
		o, err := c.Operation(context.Background(), shop(), "op-1", time.Minute)
		if err != nil {
			t.Error(err)
		}
		ended <- o
	}()
	f.move(func() { f.op.Percent = 50 })
	f.move(func() {
		f.op.Ended = time.Unix(1002, 0)
		f.op.Failure = &orchestrator.Failure{
			Code: fault.RolledBack, Message: "never healthy", Logs: []orchestrator.NodeTail{{Node: "n1", Lines: []string{"boom"}}},
		}
	})
	o := <-ended
	if !o.Done() || o.Percent != 50 || o.Seconds != 2 || o.Failure == nil || o.Failure.Logs[0].Lines[0] != "boom" {
		t.Errorf("operation: %+v", o)
	}
	if _, err := c.Steer(t.Context(), shop(), api.Steer{Verb: "abort", By: "bob"}); err != nil || f.steered != "abort by bob" {
		t.Errorf("steer: %q, %v", f.steered, err)
	}
	done, err := c.Steer(t.Context(), shop(), api.Steer{Verb: "approve", By: "root@desk", As: "ann"})
	if err != nil || len(done.Done) != 1 || done.Done[0] != "ann" || f.steered != "approve by ann (root@desk)" {
		t.Errorf("approve: %v, %q, %v", done, f.steered, err)
	}
}

// TestWhoAsks: who is at the other end is asked of the kernel; only root may speak for others.
func TestWhoAsks(t *testing.T) {
	for name, c := range map[string]struct {
		user string
		root bool
		said string
		want string
	}{
		"the user that it says": {user: "ann", said: "ann@laptop", want: "ann@laptop"},
		"another one":           {user: "bob", said: "ann@laptop", want: "bob@laptop"},
		"root for another":      {user: "root", root: true, said: "ann@laptop", want: "ann@laptop"},
		"nothing said":          {user: "bob", said: "", want: "bob"},
		"nothing said by root":  {user: "root", root: true, said: "", want: "root"},
		"what a terminal obeys": {user: "root", root: true, said: "ann\x1b[31m@lap\ntop\u202e", want: "ann[31m@lap top"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			client := serveWith(t, console.Options{Orchestrator: f, UserOf: func(uid int) (string, bool) {
				if uid != os.Getuid() {
					t.Errorf("asked for uid %d, we are %d", uid, os.Getuid())
				}
				return c.user, c.root
			}})
			if _, err := client.Submit(t.Context(), shop(), api.Request{Kind: "up", By: c.said}); err != nil {
				t.Fatal(err)
			}
			o := f.asked.Origin
			if f.asked.By != c.want || o == nil || o.User != c.user || o.PID != os.Getpid() || !strings.HasPrefix(o.Via, "unix:/") {
				t.Errorf("by %q, from %+v; want by %q", f.asked.By, o, c.want)
			}
			if _, err := client.Steer(t.Context(), shop(), api.Steer{Verb: "abort", By: c.said}); err != nil || f.steered != "abort by "+c.want {
				t.Errorf("steer: %q, %v", f.steered, err)
			}
		})
	}
}

func TestErrorsKeepTheirClass(t *testing.T) {
	f := newFake()
	f.refuse = fault.New(fault.Busy, "launch shop: ann@laptop runs up since 10:00").WithHint("release abort")
	c := serve(t, f, nil, nil)
	_, err := c.Submit(t.Context(), shop(), api.Request{Kind: "launch"})
	var e *fault.Error
	if !errors.As(err, &e) || e.Code != fault.Busy || e.Hint != "release abort" {
		t.Errorf("submit: %#v", err)
	}
	if _, err := c.Operation(t.Context(), shop(), "op-9", 0); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown operation: %v", err)
	}
	if _, err := api.NewClient(c.Socket + ".none").Agent(t.Context()); !errors.Is(err, api.ErrNoAgent) {
		t.Errorf("no agent: %v", err)
	}
}

func TestEventsFollow(t *testing.T) {
	f := newFake()
	add := func() {
		f.events = append(f.events, orchestrator.Event{Seq: uint64(len(f.events) + 1), Type: "node.healthy", Node: "n1"})
	}
	for range 1200 { // more than one batch
		add()
	}
	c := serve(t, f, nil, nil)
	enough := errors.New("enough")
	var last uint64
	err := c.Events(t.Context(), shop(), 10, true, func(e api.Event) error {
		if e.Seq != max(last, 10)+1 {
			t.Fatalf("event %d after %d", e.Seq, last)
		}
		if last = e.Seq; last == 1200 {
			go f.move(add)
		}
		if last == 1201 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("follow: %v", err)
	}
	count := 0
	if err := c.Events(t.Context(), shop(), 0, false, func(api.Event) error { count++; return nil }); err != nil || count != 1201 {
		t.Errorf("all events: %d, %v", count, err)
	}
}

// TestEventsOf: a time and types select entries, also of those to come.
func TestEventsOf(t *testing.T) {
	f := newFake()
	add := func(types ...string) {
		for _, is := range types {
			seq := len(f.events) + 1
			f.events = append(f.events, orchestrator.Event{Seq: uint64(seq), At: time.Unix(int64(seq), 0), Type: is})
		}
	}
	add("up.begin", "node.healthy", "nodes.odd", "fleet.shot", "node.shot", "up.done")
	c := serve(t, f, nil, nil)
	for _, q := range []struct {
		query api.EventQuery
		want  []uint64
	}{
		{api.EventQuery{}, []uint64{1, 2, 3, 4, 5, 6}},
		{api.EventQuery{Types: []string{"node"}}, []uint64{2, 5}},
		{api.EventQuery{Types: []string{"node.shot", "up"}}, []uint64{1, 5, 6}},
		{api.EventQuery{Since: time.Unix(4, 0)}, []uint64{4, 5, 6}},
		{api.EventQuery{Since: time.Unix(2, 0), After: 4, Types: []string{"fleet", "node"}}, []uint64{5}},
		{api.EventQuery{Types: []string{"drift"}}, nil},
	} {
		var got []uint64
		err := c.EventsOf(t.Context(), shop(), q.query, func(e api.Event) error { got = append(got, e.Seq); return nil })
		if err != nil || !slices.Equal(got, q.want) {
			t.Errorf("%+v: %v, %v; want %v", q.query, got, err, q.want)
		}
	}
	enough := errors.New("enough")
	go f.move(func() { add("node.died", "up.begin") })
	var last api.Event
	err := c.EventsOf(t.Context(), shop(), api.EventQuery{After: 6, Types: []string{"up"}, Follow: true}, func(e api.Event) error { last = e; return enough })
	if !errors.Is(err, enough) || last.Seq != 8 {
		t.Errorf("follow: entry %d, %v", last.Seq, err)
	}
}

func TestLogs(t *testing.T) {
	c := serve(t, newFake(), nil, nil)
	r, err := c.Logs(t.Context(), shop(), "n1", api.LogOptions{Tail: 5, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); string(b) != "tail 5 follow true\n" || err != nil {
		t.Errorf("logs: %q, %v", b, err)
	}
	if _, err := c.Logs(t.Context(), shop(), "n2", api.LogOptions{}); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown node: %v", err)
	}
}

// An archive that breaks off does not look whole to the client.
func TestFiles(t *testing.T) {
	c := serve(t, newFake(), nil, nil)
	r, err := c.CopyOut(t.Context(), shop(), "n1", "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err == nil {
		t.Errorf("an archive that broke off: %q, %v", b, err)
	}
	if _, err := c.CopyOut(t.Context(), shop(), "n1", "/none"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestTasks(t *testing.T) {
	c := serve(t, newFake(), nil, nil)
	ctx := t.Context()
	begun, err := c.RunTask(ctx, shop(), api.TaskRequest{By: "ann@laptop", Command: []string{"/x", "y"}, Attached: true})
	if err != nil || begun.ID != "task-1" || begun.By != "ann@laptop" || begun.Done() || begun.Seconds != 0 {
		t.Errorf("run: %+v, %v", begun, err)
	}
	if _, err := c.RunTask(ctx, shop(), api.TaskRequest{Job: "busy"}); !fault.Is(err, fault.Busy) {
		t.Errorf("a busy job: %v", err)
	}
	ended, err := c.Task(ctx, shop(), "task-1", time.Minute)
	if err != nil || !ended.Done() || ended.ExitCode != 3 || ended.Seconds != 2 {
		t.Errorf("task: %+v, %v", ended, err)
	}
	if list, err := c.Tasks(ctx, shop(), "clean"); err != nil || len(list) != 1 || list[0].Job != "clean" {
		t.Errorf("tasks: %+v, %v", list, err)
	}
	at := time.Date(2026, 11, 21, 16, 0, 0, 5, time.UTC)
	out, err := c.TaskOutput(ctx, shop(), "task-1", at)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if text, err := io.ReadAll(out); err != nil || string(text) != "2026-11-21T16:00:00.000000005Z out of task-1\n" {
		t.Errorf("output: %q, %v", text, err)
	}
	if err := c.StopTask(ctx, shop(), "task-1", "ann"); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestHookFiles(t *testing.T) {
	c := serve(t, newFake(), nil, nil)
	if missing, err := c.MissingFiles(t.Context(), []string{"a", "b"}); err != nil || len(missing) != 1 || missing[0] != "b" {
		t.Errorf("missing: %v, %v", missing, err)
	}
	if err := c.PutFile(t.Context(), "abc", 3, strings.NewReader("abc")); err != nil {
		t.Errorf("put: %v", err)
	}
	if err := c.PutFile(t.Context(), "abc", 3, strings.NewReader("xyz")); !fault.Is(err, fault.Invalid) {
		t.Errorf("put of another: %v", err)
	}
}

func TestExec(t *testing.T) {
	f := newFake()
	c := serve(t, f, nil, nil)
	input := strings.Repeat("0123456789", 20_000) // several frames
	var out, errOut bytes.Buffer
	resize := make(chan api.Window, 1)
	resize <- api.Window{Columns: 99}
	x := api.Exec{Command: []string{"cat"}, TTY: true, Window: api.Window{Columns: 80}}
	code, err := c.Exec(t.Context(), shop(), "n1", x, api.Streams{Stdin: strings.NewReader(input), Stdout: &out, Stderr: &errOut, Resize: resize})
	if err != nil || code != 7 || out.String() != input || errOut.String() != "80 then 99" {
		t.Errorf("exec: %d, %v, %d bytes, %q", code, err, out.Len(), errOut.String())
	}
	if _, err := c.Exec(t.Context(), shop(), "n1", api.Exec{}, api.Streams{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no command: %v", err)
	}
}

func TestExecEndsWithItsClient(t *testing.T) {
	f := newFake()
	c := serve(t, f, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := f.Changed()
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err := c.Exec(ctx, shop(), "n1", api.Exec{Command: []string{"wait"}}, api.Streams{Stdout: io.Discard, Stderr: io.Discard})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("exec: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		if f.steered != "exec ended" {
			t.Error("the command goes on without its client")
		}
	}
}

func TestUpload(t *testing.T) {
	store := &images{blobs: map[string]string{"sha256:a": "old"}}
	c := serve(t, newFake(), store, nil)
	missing, err := c.Missing(t.Context(), []api.Blob{{Digest: "sha256:a", Size: 3}, {Digest: "sha256:b", Size: 3}})
	if err != nil || len(missing) != 1 || missing[0].Digest != "sha256:b" {
		t.Fatalf("missing: %v, %v", missing, err)
	}
	if err := c.PutBlob(t.Context(), missing[0], strings.NewReader("new")); err != nil || store.blobs["sha256:b"] != "new" {
		t.Errorf("upload: %v, %v", store.blobs, err)
	}
	if err := c.PutImage(t.Context(), "sha256:b", "shop"); err != nil || store.name != "shop" {
		t.Errorf("tag: %q, %v", store.name, err)
	}
	if err := c.PutImage(t.Context(), "sha256:c", "shop"); !fault.Is(err, fault.NotFound) {
		t.Errorf("tag of nothing: %v", err)
	}
}
