package alb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/installation"
	"github.com/bootandshoot/release/internal/pause"
	"github.com/bootandshoot/release/router"
)

// Options of a backend. Installation and Balancer must be set.
type Options struct {
	Installation string        // id of the installation: [a-z0-9-], at most 40 characters
	Balancer     string        // name of the load balancer, which exists and has the listeners that routes ask for
	Priority     int           // first of the 1,000 priorities that rules of ours have; 0: 1,000
	Drain        time.Duration // deregistration delay: how long a node that leaves drains, to an hour; 0: 20 s
	CheckPath    string        // what the balancer asks nodes for; "": "/"
	// HealthyWithin is how long the balancer may take to find a new node healthy; then the table is refused. 0: 2 min; less
	// than 0: nothing is waited for.
	HealthyWithin time.Duration
	// Wait is how long Apply itself waits for that before it says router.Waiting. 0, as agents have it: it looks once; tables of
	// others are applied meanwhile, and this one again.
	Wait  time.Duration
	Poll  time.Duration // pause between two looks at a state that AWS changes; 0: 1 s
	Look  time.Duration // an observation is this old at most; 0: 5 s, and 1 s while nodes drain
	Count time.Duration // pause between two questions to CloudWatch; 0: 1 min
	Now   func() time.Time
	Log   *slog.Logger // nil: none
}

// Backend routes by one Application Load Balancer. It is safe for concurrent use, and several agents may have one each.
type Backend struct {
	opts     Options
	elb      *elb.Client
	metrics  *cloudwatch.Client
	instance string // of the counters

	mu    sync.Mutex          // one that changes anything at a time
	since map[string]patience // by target; guarded by mu
	joins map[leaving]joiner  // guarded by mu

	known knowledge
}

var (
	_ router.Backend    = (*Backend)(nil)
	_ router.Prechecker = (*Backend)(nil)
	_ router.Abandoner  = (*Backend)(nil)
)

// New makes a backend. It does not talk to AWS. Errors: a bad option (fault.Invalid).
func New(cfg aws.Config, o Options) (*Backend, error) {
	switch {
	case !installation.Valid(o.Installation):
		return nil, fault.New(fault.Invalid, "route by a load balancer: installation id %q is not at most 40 of [a-z0-9-]", o.Installation)
	case o.Balancer == "":
		return nil, fault.New(fault.Invalid, "route by a load balancer: its name is not given")
	case o.Priority < 0 || o.Priority > mostPriority-priorities, o.Drain < 0 || o.Drain > time.Hour:
		return nil, fault.New(fault.Invalid, "route by a load balancer: priority %d or drain %s is out of range", o.Priority, o.Drain)
	}
	o.Priority = cmp.Or(o.Priority, 1000)
	o.Drain = cmp.Or(o.Drain, 20*time.Second)
	o.CheckPath = cmp.Or(o.CheckPath, "/")
	o.HealthyWithin = cmp.Or(o.HealthyWithin, 2*time.Minute)
	o.Poll = cmp.Or(o.Poll, time.Second)
	o.Count = cmp.Or(o.Count, time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Backend{opts: o, elb: elb.NewFromConfig(cfg), metrics: cloudwatch.NewFromConfig(cfg), instance: o.Now().UTC().Format(time.RFC3339Nano),
		since: map[string]patience{}, joins: map[leaving]joiner{}, known: newKnowledge(o.Now())}, nil
}

// errAgain is of what was found out of date: it is looked at anew.
var errAgain = errors.New("what AWS lists is out of date")

// Apply implements router.Backend. New nodes are registered first. When the balancer itself finds those healthy that are to get
// requests, the table is written down, and then the rules are changed. It may be called again at any time and goes on where it was.
func (b *Backend) Apply(ctx context.Context, t router.Table) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if err := supports(t); err != nil {
		return err
	}
	doing := "apply table " + t.Version.String()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer b.known.outdated()
	return b.repeat(ctx, doing, func() error { return b.apply(ctx, sealed(t)) })
}

// repeat does something until what it looked at is up to date, or ctx ends.
func (b *Backend) repeat(ctx context.Context, doing string, do func() error) error {
	for {
		err := explain(doing, do())
		if !errors.Is(err, errAgain) {
			return err
		}
		if pause.For(ctx, b.opts.Poll) != nil {
			return fmt.Errorf("%w: %w", router.ErrUnavailable, err)
		}
	}
}

func (b *Backend) apply(ctx context.Context, t router.Table) error {
	v, err := b.look(ctx)
	if err != nil {
		return err
	}
	before, err := b.record(v)
	if err != nil {
		return err
	}
	same := false
	if before != nil {
		if same, err = t.Supersedes(before.Table); err != nil {
			return err
		}
	}
	w, err := b.want(v, t)
	if err != nil {
		return err
	}
	if same {
		err = b.prepare(ctx, v, w)
	} else if before, err = b.put(ctx, v, w, before, t); err != nil && refused(err) {
		b.dismiss(w)
		err = errors.Join(err, b.expel(ctx, v, before))
	}
	if err != nil {
		return err
	}
	err = b.effect(ctx, v, w)
	if err != nil && before != nil && !same && refused(err) {
		return b.back(ctx, before, t, v.firstPage().tags[tagTable], err)
	}
	return err
}

// put writes a new table down when its nodes are ready. It gives the record of before, with those that joined meanwhile.
func (b *Backend) put(ctx context.Context, v *view, w *wanted, before *record, t router.Table) (*record, error) {
	if err := b.meet(ctx, v, w); err != nil {
		return before, err
	}
	now, err := b.announce(ctx, v, before, w)
	if err != nil {
		return before, err
	}
	if err := b.enroll(ctx, v, w); err != nil {
		return now, err
	}
	if err := b.await(ctx, v, w, now); err != nil {
		return now, err
	}
	if err := b.write(ctx, v, now, t); err != nil {
		return now, err
	}
	b.dismiss(w)
	b.decided(now, t)
	return now, nil
}

// effect makes the rules obey, takes nodes away that left, and notes that it is so.
func (b *Backend) effect(ctx context.Context, v *view, w *wanted) error {
	if err := b.rule(ctx, v, w); err != nil {
		return err
	}
	if err := b.deregister(ctx, v, w); err != nil {
		return err
	}
	return b.confirm(ctx, v, w.version)
}

func waits(err error) bool {
	var w *router.Waiting
	return errors.As(err, &w)
}

// refused is whether AWS does not do it, and would not a moment later.
func refused(err error) bool {
	e := explain("", err) // tells an outdated list from a refusal
	return !errors.Is(e, errAgain) && !waits(e) && !errors.Is(e, context.Canceled) && !errors.Is(e, context.DeadlineExceeded) && fault.CodeOf(e) != fault.Unavailable
}

// back makes the table of before the one again, unless somebody replaced t, which was written. Nodes that only t has leave: they may
// have had requests by the rules that were changed first.
func (b *Backend) back(ctx context.Context, before *record, t router.Table, wrote string, why error) error {
	err := b.repeat(ctx, "bring table "+before.Table.Version.String()+" back", func() error {
		v, err := b.look(ctx)
		if err != nil {
			return err
		}
		first := v.firstPage()
		if first == nil || first.tags[tagTable] != wrote {
			return fmt.Errorf("another agent wrote a table: %w", router.ErrStale)
		}
		w, err := b.want(v, before.Table)
		if err != nil {
			return err
		}
		if err := b.doubt(ctx, v); err != nil {
			return err
		}
		leaving := b.leaving(v, &record{Table: t, Leaving: before.Leaving}, before.Table)
		if err := b.save(ctx, v, &record{Table: before.Table, Leaving: leaving}); err != nil {
			return err
		}
		wrote = first.tags[tagTable]
		return b.effect(ctx, v, w)
	})
	if err != nil {
		return fmt.Errorf("%w; and the table before could not be brought back: %w", why, err)
	}
	return why
}

// Applied implements router.Backend. A table that was written down by an agent that ended then is made effective first.
func (b *Backend) Applied(ctx context.Context) (t router.Table, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	err = b.repeat(ctx, "read the table of load balancer "+b.opts.Balancer, func() error {
		v, err := b.look(ctx)
		if err != nil {
			return err
		}
		rec, err := b.record(v)
		switch {
		case err != nil:
			return err
		case rec == nil:
			return router.ErrNoTable
		}
		t = rec.Table
		if v.effective() == t.Version && len(rec.Leaving) == 0 {
			return nil
		}
		defer b.known.outdated()
		if v.effective() == t.Version {
			return b.expel(ctx, v, rec) // who joined for a table that its agent did not come to write
		}
		w, err := b.want(v, t)
		if err == nil {
			err = b.prepare(ctx, v, w)
		}
		if err == nil {
			err = b.effect(ctx, v, w)
		}
		return err
	})
	return t, err
}

// Precheck implements router.Prechecker: the balancer must be there and have the listener.
func (b *Backend) Precheck(ctx context.Context, r router.Route) error {
	t := router.Table{Schema: router.Schema, Routes: []router.Route{r}}
	if err := supports(t); err != nil {
		return err
	}
	err := b.repeat(ctx, "look at load balancer "+b.opts.Balancer, func() error {
		v, err := b.look(ctx)
		if err == nil {
			_, err = b.want(v, t)
		}
		return err
	})
	if errors.Is(err, router.ErrUnavailable) {
		return nil // it cannot be told
	}
	return err
}

// outdatedCodes are the errors of a change that was decided on by a list that lacked what was made, or had what is gone.
var outdatedCodes = []string{"PriorityInUse", "RuleNotFound", "TargetGroupNotFound", "ResourceInUse", "DuplicateTargetGroupName"}

// explain gives an error its class. What says that AWS does not answer is router.ErrUnavailable too.
func explain(doing string, err error) error {
	if err == nil || waits(err) || errors.Is(err, router.ErrStale) || errors.Is(err, router.ErrNoTable) || errors.Is(err, router.ErrUnavailable) {
		return err
	}
	outdated := awsapi.Is(err, outdatedCodes...)
	err = awsapi.Explain(doing, err)
	switch {
	case outdated:
		return fmt.Errorf("%w: %w", errAgain, err)
	case fault.CodeOf(err) == fault.Unavailable:
		return fmt.Errorf("%w: %w", router.ErrUnavailable, err)
	}
	return err
}
