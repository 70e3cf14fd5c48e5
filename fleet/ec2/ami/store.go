package ami

import (
	"io"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/installation"
)

// Tags of snapshots and images.
const (
	tagInstallation = "release.installation"
	tagDisk         = "release.disk"
	tagParent       = "release.parent"
	tagBlocks       = "release.blocks"
	tagImage        = "release.image"
	tagSnapshot     = "release.snapshot"
)

// none is tagParent's value of a snapshot without a parent.
const none = "none"

// Disk is a raw disk to upload.
type Disk struct {
	Content io.ReaderAt
	Size    int64  // bytes
	Digest  string // of the content, "sha256:…"
	// Previous is the digest of a disk that was uploaded before, most blocks of which this one shares; "": none. Where nothing is
	// known of it any more all blocks are sent.
	Previous string
	Encrypt  bool           // with Key; a child of an encrypted snapshot always is, by the parent's key
	Key      string         // ARN of a KMS key; "": the account's default key of EBS
	Progress func(Progress) // called now and then while it is uploaded, one call at a time; nil: nobody
}

// Options of a store.
type Options struct {
	Installation string        // id of the installation: [a-z0-9-], at most 40 characters
	Dir          string        // folder for records; it exists
	Parallel     int           // requests in flight; 0: 64
	Poll         time.Duration // pause between two looks at a state that AWS changes; 0: 2 s
	Log          *slog.Logger  // nil: none
}

// Progress is how far an upload is.
type Progress struct{ Done, Total int } // blocks written, and to write

// Store makes images in one account and region. It is safe for use by many goroutines, one Upload of a disk at a time.
type Store struct {
	opts   Options
	cfg    aws.Config
	region string
	ec2    *ec2.Client
	ebs    *ebs.Client
	log    *slog.Logger
}

// New makes a store. It does not talk to AWS. Errors: a bad option (fault.Invalid).
func New(cfg aws.Config, o Options) (*Store, error) {
	if !installation.Valid(o.Installation) {
		return nil, fault.New(fault.Invalid, "use AWS images: installation id %q is not at most 40 of [a-z0-9-]", o.Installation)
	}
	if cfg.Region == "" {
		return nil, fault.New(fault.Invalid, "use AWS images: no region is set").WithHint("set AWS_REGION")
	}
	if o.Parallel == 0 {
		o.Parallel = 64
	}
	if o.Poll == 0 {
		o.Poll = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Store{opts: o, cfg: cfg, region: cfg.Region, ec2: ec2.NewFromConfig(cfg), ebs: ebs.NewFromConfig(cfg), log: o.Log}, nil
}

// In is the store of another region, of the same account and installation.
func (s *Store) In(region string) *Store { return s.in(region) }

// in is the store of another region.
func (s *Store) in(region string) *Store {
	if region == s.region {
		return s
	}
	other := *s
	other.cfg = s.cfg.Copy()
	other.cfg.Region, other.region = region, region
	other.ec2, other.ebs = ec2.NewFromConfig(other.cfg), ebs.NewFromConfig(other.cfg)
	return &other
}

// filter is one of EC2's.
func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// ours are the filters that leave only what carries the installation's id.
func (s *Store) ours(more ...types.Filter) []types.Filter {
	return append([]types.Filter{filter("tag:"+tagInstallation, s.opts.Installation)}, more...)
}

func tagsOf(list []types.Tag) map[string]string {
	tags := map[string]string{}
	for _, t := range list {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags
}

func ec2Tags(pairs ...string) (list []types.Tag) {
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, types.Tag{Key: aws.String(pairs[i]), Value: aws.String(pairs[i+1])})
	}
	return list
}
