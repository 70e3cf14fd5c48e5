package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/internal/removal"
	"github.com/bootandshoot/release/recipes"
	"github.com/bootandshoot/release/sandbox"
)

// trial is a booted image under test.
type trial struct {
	b       *bake
	root    stepRoot
	spec    sandbox.Spec // of the image's own command; of the bare sandbox when it has none
	log     *lines
	process *sandbox.Process // nil in a bare sandbox
	port    int              // that the app must listen on; 0 for none
	up      bool
	booted  time.Time
}

// startTime is how long services beside the one that has the port may take until they answer commands.
const startTime = 10 * time.Second

// boot starts the image's command, as a node gets it, in a network of its own.
func (b *bake) boot(ctx context.Context, m *made) (*trial, error) {
	emulator, err := sandbox.Emulator(b.platform.Architecture)
	if err != nil {
		return nil, err
	}
	root, err := b.makeRoot(ctx, m.state)
	if err != nil {
		return nil, err
	}
	c := m.image.Config.Config
	t := &trial{b: b, root: root, log: newLines(b, "log"), booted: time.Now()}
	if ports := m.image.Ports(); len(ports) > 0 {
		t.port = ports[0]
	}
	t.spec = sandbox.Spec{Root: root.Root, Command: m.image.Command(), Env: testEnvironment(c.Env, t.port), Dir: c.WorkingDir, User: c.User,
		Hostname: testHostname, Network: sandbox.NoNetwork, Emulator: emulator, Stdout: t.log, Stderr: t.log, Control: root.dir + "/control"}
	if len(t.spec.Command) == 0 {
		t.spec.Control = ""
		return t, nil
	}
	if err := os.Mkdir(t.spec.Control, 0o700); err != nil {
		t.close()
		return nil, fmt.Errorf("make control folder: %w", err)
	}
	if t.process, err = sandbox.Start(ctx, t.spec); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// testEnvironment is the image's and what every node has.
func testEnvironment(image []string, port int) []string {
	own := map[string]string{"HOSTNAME": testHostname}
	if port != 0 {
		own["PORT"] = strconv.Itoa(port)
	}
	return environment(image, own)
}

// close ends the image. Nothing of it outlives the bake: an attached sandbox also ends with this process.
func (t *trial) close() {
	if t.process != nil {
		_ = t.process.Kill()
		_, _ = t.process.Wait()
	}
	if err := removal.Tree(t.root.dir); err != nil {
		t.b.log.Warn("cannot remove the folder of a test", "folder", t.root.dir, "error", err)
	}
}

func (t *trial) run(ctx context.Context, test recipes.Test) error {
	ctx, cancel := context.WithTimeout(ctx, test.Within)
	defer cancel()
	if test.HTTP != nil {
		return t.ask(ctx, test)
	}
	return t.command(ctx, test)
}

// command runs a command, and once more as long as other services of the image may still be starting.
func (t *trial) command(ctx context.Context, test recipes.Test) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := t.once(ctx, test)
		starting := t.process != nil && len(t.b.recipe.Services) > 1 && time.Since(t.booted) < startTime
		if err == nil || !starting || !t.pause(ctx, wait) {
			return err
		}
	}
}

// once runs a command beside the image's own once the app listens; in a sandbox without another command when the
// image has none, or one that did its work and ended well.
func (t *trial) once(ctx context.Context, test recipes.Test) error {
	if t.process != nil {
		switch ended, err := t.awaitUp(ctx, test); {
		case err != nil:
			return err
		case ended:
			t.process = nil
		}
	}
	out := newLines(t.b, testName(test))
	exit, err := t.execute(ctx, test, out)
	if err != nil && ctx.Err() == nil && t.process != nil {
		// A job that did its work meanwhile took the command with it. Its end is seen a moment after that of the connection.
		t.pause(ctx, endTime)
		switch ended, bad := t.over(); {
		case bad != nil:
			return bad
		case ended:
			t.process = nil
			exit, err = t.execute(ctx, test, out)
		}
	}
	out.flush()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return t.failed("the command did not end within "+human.Span(test.Within), out.last())
	case err != nil:
		return t.failed("the command cannot be run: "+err.Error(), out.last())
	case exit.Code == 0:
		return nil
	case exit.Reason != "":
		return t.failed("the command: "+exit.Reason, out.last())
	case exit.Signal != "":
		return t.failed("the command was ended by signal "+exit.Signal, out.last())
	}
	return t.failed(fmt.Sprintf("the command ended with exit code %d", exit.Code), out.last())
}

func (t *trial) execute(ctx context.Context, test recipes.Test, out *lines) (sandbox.Exit, error) {
	user := cmp.Or(test.User, "0")
	if t.process != nil {
		return sandbox.ControlOf(t.spec.Control).Exec(ctx, sandbox.ExecSpec{Command: test.Cmd, User: user, Stdout: out, Stderr: out})
	}
	spec := t.spec
	spec.Command, spec.User, spec.Stdout, spec.Stderr, spec.Control = test.Cmd, user, out, out, ""
	return sandbox.Run(ctx, spec)
}

// awaitUp waits until the app listens on its port, if it has one. ended says that the image's command ended well instead.
func (t *trial) awaitUp(ctx context.Context, test recipes.Test) (ended bool, err error) {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		if over, err := t.over(); over || err != nil {
			return over, err
		}
		if t.up || t.port == 0 {
			return false, nil
		}
		conn, err := t.process.Dial(ctx, t.port)
		if err == nil {
			_ = conn.Close()
			t.up = true
			return false, nil
		}
		if !t.pause(ctx, wait) {
			return false, t.failed(fmt.Sprintf("nothing listens on port %d, the first of the image's ports, after %s", t.port, human.Span(test.Within)), nil)
		}
	}
}

// over reports whether the image's command has ended; badly is an error.
func (t *trial) over() (bool, error) {
	select {
	case <-t.process.Done():
	default:
		return false, nil
	}
	exit, err := t.process.Wait()
	t.log.flush()
	switch {
	case err != nil:
		return true, err
	case exit.Reason != "":
		return true, t.failed("the image's own command: "+exit.Reason, nil)
	case exit.Code != 0:
		return true, t.failed(fmt.Sprintf("the image's own command ended with exit code %d", exit.Code), nil)
	}
	return true, nil
}

// Times between two looks at a booting image.
const (
	firstWait = 10 * time.Millisecond
	lastWait  = 250 * time.Millisecond
	endTime   = time.Second
)

// pause waits, at most until the image ends; false when the test's time is over.
func (t *trial) pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.process.Done():
	case <-timer.C:
	}
	return true
}

// failed describes a test that failed, with what it and the image's services wrote last.
func (t *trial) failed(text string, output []string) error {
	if len(output) > 0 {
		text += ", its last output was:\n  " + strings.Join(output, "\n  ")
	}
	if t.process != nil {
		if log := t.log.last(); len(log) > 0 {
			text += "\nthe last lines of the image's own output were:\n  " + strings.Join(log, "\n  ")
		} else {
			text += "\nthe image's own command wrote nothing"
		}
	}
	return fault.New(fault.Failed, "%s", text).WithHint("no image was listed; -v shows all that tests and services write")
}

// ask makes a request again and again until the answer is the one that is wanted.
func (t *trial) ask(ctx context.Context, test recipes.Test) error {
	if t.process == nil {
		return fault.New(fault.Invalid, "the image has no command that could answer").WithHint("give the recipe services: or entrypoint:")
	}
	last := errors.New("no answer")
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		if ended, err := t.over(); err != nil {
			return err
		} else if ended {
			return t.failed("the image's own command ended", nil)
		}
		err := t.request(ctx, test.HTTP)
		if err == nil {
			t.up = t.up || test.HTTP.Port == t.port
			return nil
		}
		if ctx.Err() == nil { // the end of the time says less than what was before
			last = err
		}
		if !t.pause(ctx, wait) {
			return t.failed(fmt.Sprintf("after %s: %v", human.Span(test.Within), last), nil)
		}
	}
}

// lines is where several writers write lines, of which the last are kept.
type lines struct {
	mu sync.Mutex
	w  lineWriter
}

func newLines(b *bake, step string) *lines {
	return &lines{w: lineWriter{keep: tailLines, line: func(text string) { b.report.emit(Event{Kind: Output, Step: step, Line: text}) }}}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.flush()
}

func (l *lines) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.w.tail...)
}
