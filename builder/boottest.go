package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/human"
	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/machine"
	"github.com/bootandshoot/release/recipes"
)

// Health is a request that a machine that is well answers with one of the statuses; none are all of 2xx.
type Health struct {
	Path   string
	Port   int // 0 is the image's first
	Status []int
}

// Times of a boot. An emulated machine is several times slower, and shares its processors with whatever else is done.
const (
	bootTime     = time.Minute
	bootEmulated = 5 * time.Minute
	slower       = 5 // times that a test of the recipe may take in emulation
	bootPoll     = 100 * time.Millisecond
	heldOpen     = 3 * time.Second
	settleTime   = 3 * time.Second // that an image without a port must stay up
)

const (
	bootStep = "boot the machine"
	// saidStart and saidEnd begin the lines of machine-agent that say so.
	saidStart  = "machine-agent: the services start"
	saidEnd    = "machine-agent: this machine does not start: "
	shownLines = 40
	// consoleSuffix ends the name of a kept console, which begins with the image's digest.
	consoleSuffix = ".log"
)

// bootPassed is the record of a machine that passed.
type bootPassed struct {
	Schema int    `json:"schema"`
	Image  string `json:"image"`
}

// chooseTests says which tests are made where. Commands run in the sandbox, which has the same root.
func (b *bake) chooseTests() {
	b.tests = b.recipe.Tests
	if b.o.Machine == nil {
		return
	}
	b.bootTests, b.boots = b.tests, true
	if b.o.MachineOnly {
		b.tests = slices.DeleteFunc(slices.Clone(b.tests), func(t recipes.Test) bool { return t.HTTP != nil })
	}
}

// bootTest boots the machine of an image that is not listed yet. One that passed before is not booted again.
func (b *bake) bootTest(ctx context.Context, image images.Digest, m *made) error {
	p := b.begin(bootStep)
	key := keyOf("boot", image, b.o.Health, testInputs(b.bootTests))
	record := b.cache.spread("boots", key)
	var passed bootPassed
	if !b.o.NoCache && b.cache.load(record, &passed) && passed.Schema == cacheSchema {
		p.end(&m.result, StepResult{Cached: true})
		return nil
	}
	if err := b.bootOnce(ctx, image, m); err != nil {
		return b.inMachine(err)
	}
	p.end(&m.result, StepResult{})
	return b.cache.save(record, bootPassed{Schema: cacheSchema, Image: string(image)})
}

// bootOnce boots it and asks it.
func (b *bake) bootOnce(ctx context.Context, image images.Digest, m *made) error {
	found, err := b.store.CheckMachine(ctx, image)
	if err != nil {
		return err
	}
	w, err := b.workspace()
	if err != nil {
		return err
	}
	dir, err := w.dir("boot-")
	if err != nil {
		return err
	}
	t := &bootTrial{b: b, image: m.image, console: b.cache.path("boots", image.Hex()+consoleSuffix), ports: map[int]int{}}
	spec, err := t.spec(ctx, found, dir)
	if err != nil {
		return err
	}
	if t.machine, err = machine.Start(ctx, spec); err != nil {
		return err
	}
	t.over = make(chan struct{})
	waiting, stop := context.WithCancel(ctx)
	go func() {
		defer close(t.over)
		t.exit, t.exitErr = t.machine.Wait(waiting)
	}()
	err = t.pass(ctx)
	stop()
	<-t.over
	ended := t.machine.Kill(context.WithoutCancel(ctx))
	if kept := t.keep(); err == nil {
		err = errors.Join(ended, kept)
	}
	return err
}

// bootTrial is a machine under test.
type bootTrial struct {
	b       *bake
	image   images.Image
	machine *machine.Machine
	slow    bool
	ports   map[int]int // of the machine → of this one
	console string      // where its console is kept
	over    chan struct{}
	exit    machine.Exit // and exitErr: once over is closed
	exitErr error
}

// spec is the machine, with throw-away volumes where it waits for some.
func (t *bootTrial) spec(ctx context.Context, m images.Machine, dir string) (machine.Spec, error) {
	volumes := m.Volumes
	m.Volumes = nil
	spec, err := MachineSpec(t.b.store, m, false)
	if err != nil {
		return spec, err
	}
	for i, label := range volumes {
		name := filepath.Join(dir, fmt.Sprintf("volume%d", i))
		if err := machine.MakeVolume(ctx, name, label, volumeSize); err != nil {
			return spec, err
		}
		spec.Disks = append(spec.Disks, machine.Disk{Path: name})
	}
	why := ""
	if spec.Accelerator, why, err = machine.Accelerate(ctx); err != nil {
		return spec, err
	}
	if t.slow = spec.Accelerator == machine.Emulation; t.slow {
		t.b.note(bootStep, "no KVM, the machine is emulated: %s", why)
	}
	spec.Dir = filepath.Join(dir, "machine")
	for _, port := range t.wanted() {
		host, err := freePort()
		if err != nil {
			return spec, err
		}
		t.ports[port] = host
		spec.Forwards = append(spec.Forwards, machine.Forward{Host: host, Guest: port})
	}
	return spec, nil
}

// wanted are the ports that something will be asked at.
func (t *bootTrial) wanted() []int {
	var list []int
	if ports := t.image.Ports(); len(ports) > 0 {
		list = append(list, ports[0])
	}
	if h := t.b.o.Health; h != nil && h.Port != 0 {
		list = append(list, h.Port)
	}
	for _, test := range t.b.bootTests {
		if test.HTTP != nil {
			list = append(list, test.HTTP.Port)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// pass waits until the machine is well and makes the requests of the recipe.
func (t *bootTrial) pass(ctx context.Context) error {
	within := bootTime
	if t.slow {
		within = bootEmulated
	}
	if err := t.until(ctx, within, "its services do not start", t.started); err != nil {
		return err
	}
	if err := t.well(ctx, within); err != nil {
		return err
	}
	for _, test := range t.b.bootTests {
		if test.HTTP == nil {
			continue
		}
		patience := test.Within
		if t.slow {
			patience *= slower
		}
		err := t.until(ctx, patience, testName(test)+" fails", func(ctx context.Context) error { return request(ctx, test.HTTP, t.dial(test.HTTP.Port)) })
		if err != nil {
			return at(test.Pos, err)
		}
	}
	return nil
}

// started looks for the word of machine-agent at the console.
func (t *bootTrial) started(context.Context) error {
	data, err := os.ReadFile(t.machine.Console())
	if err != nil {
		return err
	}
	if !bytes.Contains(data, []byte(saidStart)) {
		return errors.New("its console does not say so")
	}
	return nil
}

// well waits for health. An image without a port must stay up for a while, or end well.
func (t *bootTrial) well(ctx context.Context, within time.Duration) error {
	ports := t.image.Ports()
	h := t.b.o.Health
	switch {
	case h != nil:
		check := *h
		if check.Port == 0 && len(ports) > 0 {
			check.Port = ports[0]
		}
		if t.ports[check.Port] == 0 {
			break
		}
		return t.until(ctx, within, "its health check fails", func(ctx context.Context) error { return t.healthy(ctx, check) })
	case len(ports) > 0:
		return t.until(ctx, within, fmt.Sprintf("nothing answers at port %d", ports[0]), func(ctx context.Context) error { return t.answers(ctx, ports[0]) })
	}
	if err := pause.For(ctx, settleTime); err != nil {
		return err
	}
	return t.lives()
}

func (t *bootTrial) dial(port int) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(t.ports[port]))
	}
}

func (t *bootTrial) healthy(ctx context.Context, h Health) error {
	statuses := h.Status
	if len(statuses) == 0 {
		for s := http.StatusOK; s < http.StatusMultipleChoices; s++ {
			statuses = append(statuses, s)
		}
	}
	var last error
	for _, status := range statuses {
		last = request(ctx, &recipes.HTTPTest{Path: h.Path, Port: h.Port, Status: status}, t.dial(h.Port))
		if last == nil || !strings.Contains(last.Error(), "answered") {
			return last
		}
	}
	return last
}

// answers opens a connection. QEMU accepts it in the machine's place and closes it when the machine refuses: only what is said, or
// that it stays open, shows that somebody is there.
func (t *bootTrial) answers(ctx context.Context, port int) error {
	conn, err := t.dial(port)(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(heldOpen)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return errors.New("the connection is refused")
}

// until tries until it succeeds, the machine ends, or the time is over.
func (t *bootTrial) until(ctx context.Context, within time.Duration, what string, try func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last error
	for {
		err := try(limited)
		if err == nil {
			return nil
		}
		if limited.Err() == nil || last == nil { // the end of the time says less than what was before
			last = err
		}
		if err := t.lives(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limited.Done():
			return t.failed(fmt.Sprintf("%s: %v, after %s", what, last, human.Span(within)))
		case <-time.After(bootPoll):
		}
	}
}

// lives asks whether the machine still runs. One without a port may have done its work and powered off.
func (t *bootTrial) lives() error {
	var state machine.Ending
	select {
	case <-t.over:
		if t.exitErr != nil {
			return t.exitErr
		}
		state = t.exit.How
	default:
		return nil
	}
	data, err := os.ReadFile(t.machine.Console())
	if err != nil {
		return err
	}
	if state == machine.Off && len(t.wanted()) == 0 && bytes.Contains(data, []byte(saidStart)) && !bytes.Contains(data, []byte(saidEnd)) {
		return nil
	}
	return t.failed("it ended by itself (" + string(state) + ")")
}

// failed says why, with the last lines of the console.
func (t *bootTrial) failed(text string) error {
	data, err := os.ReadFile(t.machine.Console())
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(strings.ToValidUTF8(string(data), "\uFFFD"), "\r\n"), "\n")
	lines = lines[max(0, len(lines)-shownLines):]
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], "\r")
	}
	return fault.New(fault.Failed, "the machine does not pass its boot test: %s; the last lines of its console:\n  %s", text, strings.Join(lines, "\n  ")).
		WithHint("no image was listed; %s has the whole console", t.console)
}

// keep copies the console to where it stays.
func (t *bootTrial) keep() error {
	from, err := os.Open(t.machine.Console())
	if err != nil {
		return fmt.Errorf("keep the machine's console: %w", err)
	}
	defer from.Close()
	to, err := os.OpenFile(t.console, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keep the machine's console: %w", err)
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
