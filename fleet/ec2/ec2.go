package ec2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/ami"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/installation"
	"github.com/bootandshoot/release/internal/pause"
)

// Disk is the machine form of an image.
type Disk struct {
	ami.Disk
	Arch  string // of Go
	Close func() // releases what Content holds
}

// Options of a driver. Installation, Images and Disk must be set.
type Options struct {
	Installation string                                                // id of the installation: [a-z0-9-], at most 40 characters
	Images       *ami.Store                                            // of the same account, region and installation
	Disk         func(ctx context.Context, image string) (Disk, error) // the machine of an image, by its digest; fleet.ErrImageLacksTarget without one
	Place        fleet.Placement                                       // what a spec leaves out; without subnets there: those of the account's default network
	Encrypt      bool                                                  // the disks of images, with Key
	Key          string                                                // ARN of a KMS key; "": the account's default key of EBS
	CopyTo       []string                                              // regions that get each image, too
	ShareWith    []string                                              // numbers of accounts that may launch each image
	Settles      time.Duration                                         // how long what was launched or listed may be missing from lists; 0: 5 min
	Poll         time.Duration                                         // pause between two looks at a state that AWS changes; 0: 2 s
	Log          *slog.Logger                                          // nil: none
}

// settles is the default of Options.Settles. AWS promises no bound; a few minutes is what its guide to the API tells callers to expect
// at most. [EC2 developer guide: eventual consistency]
const settles = 5 * time.Minute

// Driver runs nodes as instances in one account and region. It is safe for use by many goroutines.
type Driver struct {
	opts   Options
	region string
	ec2    *ec2.Client
	groups *autoscaling.Client
	sts    *sts.Client
	log    *slog.Logger

	mu     sync.Mutex // guards what follows; never held during a call
	scope  string     // once known
	found  []string   // subnets of the default network, once looked for
	memory memory
	work   map[fleet.FleetID]*work
	images map[string]*place // by digest
	odd    map[string]bool   // instances that carry our tag and are no node, and of which that was said
}

var (
	_ fleet.Driver           = (*Driver)(nil)
	_ fleet.Targeted         = (*Driver)(nil)
	_ fleet.Scoped           = (*Driver)(nil)
	_ fleet.Grouped          = (*Driver)(nil)
	_ fleet.ProgressPreparer = (*Driver)(nil)
)

// New makes a driver. It does not talk to AWS. Errors: a bad option (fault.Invalid).
func New(cfg aws.Config, o Options) (*Driver, error) {
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "make ec2 driver: "+format, args...)
	}
	switch {
	case !installation.Valid(o.Installation):
		return nil, invalid("installation id %q is not at most 40 of [a-z0-9-]", o.Installation)
	case cfg.Region == "":
		return nil, invalid("no region is set")
	case o.Images == nil || o.Disk == nil:
		return nil, invalid("images or disks are missing")
	}
	if o.Poll == 0 {
		o.Poll = 2 * time.Second
	}
	if o.Settles == 0 {
		o.Settles = settles
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Driver{opts: o, region: cfg.Region, ec2: ec2.NewFromConfig(cfg), groups: autoscaling.NewFromConfig(cfg), sts: sts.NewFromConfig(cfg), log: o.Log,
		memory: newMemory(o.Settles), work: map[fleet.FleetID]*work{}, images: map[string]*place{}, odd: map[string]bool{}}, nil
}

// Target says that the driver boots machines.
func (d *Driver) Target() fleet.Target { return fleet.Machine }

// Scope is the account and region.
func (d *Driver) Scope(ctx context.Context) (string, error) {
	d.mu.Lock()
	known := d.scope
	d.mu.Unlock()
	if known != "" {
		return known, nil
	}
	who, err := d.sts.GetCallerIdentity(ctx, nil)
	if err != nil {
		return "", explain("ask who we are at AWS", err)
	}
	scope := "AWS account " + aws.ToString(who.Account) + ", " + d.region
	d.mu.Lock()
	d.scope = scope
	d.mu.Unlock()
	return scope, nil
}

// explain gives an error its class. What says that AWS does not answer is fleet.ErrUnavailable too.
func explain(doing string, err error) error {
	err = awsapi.Explain(doing, err)
	if fault.CodeOf(err) == fault.Unavailable {
		return unavailable{err}
	}
	return err
}

// unavailable is an error that is fleet.ErrUnavailable besides what it is.
type unavailable struct{ error }

func (u unavailable) Unwrap() []error { return []error{u.error, fleet.ErrUnavailable} }

// nameOf is the name of a fleet's launch template and group.
func (d *Driver) nameOf(id fleet.FleetID) string {
	sum := sha256.Sum256([]byte(id.String()))
	return "release-" + d.opts.Installation + "-" + hex.EncodeToString(sum[:8])
}

// pause waits for the time between two looks.
func (d *Driver) pause(ctx context.Context) error {
	if pause.For(ctx, d.opts.Poll) != nil {
		return context.Cause(ctx)
	}
	return nil
}
