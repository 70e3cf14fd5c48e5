package builder

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"time"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/recipes"
)

// Options say what to bake and how. Recipe and Store are required.
type Options struct {
	Recipe *recipes.Recipe
	// Lock holds the pins; nil reads LockPath. A bake that adds or drops pins saves the whole at LockPath, which by
	// default lies beside the recipe.
	Lock     *recipes.Lock
	LockPath string
	Store    *images.Store
	Name     string // of the image in the store; "" is the recipe's

	NoCache  bool   // run every step again; verified downloads are kept
	Locked   bool   // fail when the lockfile does not pin exactly what the recipe names
	Offline  bool   // use no network
	Platform string // "os/arch[/variant]"; "" is linux and this machine's architecture
	// SourceDateEpoch is the time of everything in the image, in seconds since 1970; nil takes the lockfile's newest date.
	SourceDateEpoch *int64
	// Secrets are the values of the build secrets that run steps name. They are in no key, log or layer.
	Secrets map[string][]byte
	// Vars replace values of the recipe's vars.
	Vars map[string]string

	// Machine also makes a machine of the image; nil makes a container only.
	Machine *Machine
	// Health is how a booted machine shows that it is well; nil is any answer at the image's first port.
	Health *Health
	// MachineOnly leaves requests to the image in a sandbox out: the booted machine must answer them.
	MachineOnly bool

	Sign    *signature.PrivateKey // signs the image and its provenance; nil signs nothing
	Builder string                // URI of who bakes, for the provenance; "" is this program
	Version string                // of this program, for the provenance

	Progress func(Event) // called by one goroutine at a time; nil is fine
	Log      *slog.Logger
	Now      func() time.Time // nil is time.Now
}

// EventKind says what an Event is about.
type EventKind string

// Kinds of events. A step has one Started and, when it succeeds, one Done.
const (
	Started EventKind = "started"
	Output  EventKind = "output" // a line that the step's command wrote
	Bytes   EventKind = "bytes"  // how far a download is
	Done    EventKind = "done"
	Note    EventKind = "note" // something worth knowing, in Line
)

// Event is a piece of progress.
type Event struct {
	Kind    EventKind `json:"kind"`
	Step    string    `json:"step"`            // the step's name
	Index   int       `json:"index,omitempty"` // from 1
	Total   int       `json:"total,omitempty"` // number of steps
	Line    string    `json:"line,omitempty"`
	Bytes   int64     `json:"bytes,omitempty"` // so far; Done: the layer's size
	Size    int64     `json:"size,omitempty"`  // expected, 0 when unknown
	Cached  bool      `json:"cached,omitempty"`
	Test    bool      `json:"test,omitempty"` // the step is a test of the image, which has no size
	Seconds float64   `json:"seconds,omitempty"`
}

// StepResult is what became of one step.
type StepResult struct {
	Name    string          `json:"name"`
	Cached  bool            `json:"cached"`
	Seconds float64         `json:"seconds"`
	Bytes   int64           `json:"bytes"`            // size of its layer, of all layers for the base; 0 when it changed nothing
	Layer   images.Digest   `json:"layer,omitempty"`  // "" for a base and for a step that changed nothing
	Layers  []images.Digest `json:"layers,omitempty"` // of a part that is several: a Debian base or its packages
}

// Result is what a bake made.
type Result struct {
	Image        images.Digest `json:"image"`
	Name         string        `json:"name"`
	Cached       bool          `json:"cached"` // every step was, and the image was there already
	Steps        []StepResult  `json:"steps"`
	Tests        []TestResult  `json:"tests"` // in the order of the recipe
	Seconds      float64       `json:"seconds"`
	Reproducible bool          `json:"reproducible"` // no step used the network at will
	Epoch        int64         `json:"epoch"`
	LockChanged  bool          `json:"lock_changed"` // the lockfile was written
}

// NeedsRoot reports whether a bake of the recipe executes commands in the image's root, as scripts of packages are. An ordinary user's process
// enters a user namespace first (sandbox.EnterUserNamespace). Owners alone need none: layers are written from records.
func NeedsRoot(r *recipes.Recipe) bool { return len(r.Run)+len(r.Tests) > 0 || r.Base.Debian != nil }

// Bake makes the image of a recipe and lists it in the store. Errors of a step name the step and its place in the
// recipe; a command that fails comes with the last lines it wrote. Nothing is listed when Bake fails, or a test of the
// recipe does.
//
// A cached layer that is found damaged, and what was made of it, is made anew.
func Bake(ctx context.Context, o Options) (Result, error) {
	for last := ""; ; {
		res, err := bakeOnce(ctx, o)
		if !errors.Is(err, images.ErrDamaged) || err.Error() == last {
			return res, err
		}
		last = err.Error()
		if o.Progress != nil {
			o.Progress(Event{Kind: Note, Line: "made anew: " + last})
		}
	}
}

// bakeOnce is Bake that fails at a damaged layer, which the store then has put aside.
func bakeOnce(ctx context.Context, o Options) (Result, error) {
	b, err := newBake(o)
	if err != nil {
		return Result{}, err
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return Result{}, err
	}
	defer release()
	defer b.close()
	started := b.now()
	b.chooseTests()
	made, err := b.run(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := b.test(ctx, &made); err != nil {
		return Result{}, err
	}
	if o.Machine != nil {
		if err := b.machine(ctx, &made); err != nil {
			return Result{}, err
		}
	}
	before, _ := o.Store.Resolve(b.name) // none is fine
	image, err := o.Store.Write(ctx, made.image)
	if err != nil {
		return Result{}, err
	}
	if o.Machine != nil {
		if err := o.Store.AttachMachine(ctx, image); err != nil {
			return Result{}, err
		}
		if err := b.bootTest(ctx, image, &made); err != nil {
			return Result{}, err
		}
	}
	res := made.result
	res.Image = image
	if err := b.attest(ctx, res.Image); err != nil {
		return Result{}, err
	}
	if err := o.Store.Tag(ctx, res.Image, b.name); err != nil {
		return Result{}, err
	}
	res.Cached = res.Cached && before == res.Image
	res.Seconds = b.now().Sub(started).Seconds()
	return res, nil
}

func defaultPlatform() string { return "linux/" + runtime.GOARCH }
