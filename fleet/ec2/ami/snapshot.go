package ami

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
)

// Snapshot is one of a disk.
type Snapshot struct {
	ID        string
	Disk      string // digest of the disk
	Parent    string // digest of the parent's disk, "none" without one
	Status    string // "pending", "completed", "error"
	Whole     bool   // completed, and known to have all blocks
	GiB       int64
	Encrypted bool
	Key       string // ARN of the KMS key, if encrypted
	Began     time.Time
}

func snapshotOf(n types.Snapshot) Snapshot {
	tags := tagsOf(n.Tags)
	out := Snapshot{ID: aws.ToString(n.SnapshotId), Disk: tags[tagDisk], Parent: tags[tagParent], Status: string(n.State), GiB: int64(aws.ToInt32(n.VolumeSize)),
		Encrypted: aws.ToBool(n.Encrypted), Key: aws.ToString(n.KmsKeyId), Began: aws.ToTime(n.StartTime)}
	out.Whole = out.Status == "completed" && tags[tagBlocks] != ""
	return out
}

// fits is whether a snapshot is encrypted as a disk is to be. One that is although nobody asked is what an account's default makes.
func (n Snapshot) fits(d Disk) bool {
	return !d.Encrypt || n.Encrypted && (d.Key == "" || d.Key == n.Key)
}

// snapshots lists those of the installation that pass more filters, the oldest first.
func (s *Store) snapshots(ctx context.Context, more ...types.Filter) ([]Snapshot, error) {
	var all []Snapshot
	pages := ec2.NewDescribeSnapshotsPaginator(s.ec2, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: s.ours(more...)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, n := range page.Snapshots {
			all = append(all, snapshotOf(n))
		}
	}
	slices.SortStableFunc(all, func(a, b Snapshot) int { return a.Began.Compare(b.Began) })
	return all, nil
}

// parent is the whole snapshot of a disk's previous one; empty if there is none that can be a parent.
func (s *Store) parent(ctx context.Context, d Disk) (Snapshot, error) {
	found, err := s.snapshots(ctx, filter("tag:"+tagDisk, d.Previous), filter("status", "completed"))
	if err != nil {
		return Snapshot{}, err
	}
	for _, n := range found {
		if n.Whole && n.fits(d) && n.Encrypted == d.Encrypt {
			return n, nil
		}
	}
	return Snapshot{}, nil
}

// begun is the best snapshot that there is of a disk: a whole one, a completed one, one that can be gone on with; empty for none.
// Those that no upload can go on with are removed.
func (s *Store) begun(ctx context.Context, d Disk, plan Plan) (best Snapshot, err error) {
	found, err := s.snapshots(ctx, filter("tag:"+tagDisk, d.Digest))
	if err != nil {
		return Snapshot{}, err
	}
	parent := plan.Parent
	if parent == "" {
		parent = none
	}
	rank := func(n Snapshot) int {
		switch {
		case !n.fits(d) || n.Status == "error" || n.Status == "pending" && n.Parent != parent:
			return 0
		case n.Whole:
			return 3
		case n.Status == "completed":
			return 2
		}
		return 1
	}
	for _, n := range found {
		switch r := rank(n); {
		case r > 0 && (best.ID == "" || r > rank(best)):
			best = n
		case r == 0 && n.fits(d) && n.Status != "completed":
			if err := s.discard(ctx, n.ID); err != nil {
				return Snapshot{}, err
			}
		}
	}
	return best, nil
}

func (s *Store) describe(ctx context.Context, id string) (Snapshot, error) {
	out, err := s.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if err != nil {
		return Snapshot{}, err
	}
	if len(out.Snapshots) != 1 {
		return Snapshot{}, fmt.Errorf("describe snapshot %s: %d are listed", id, len(out.Snapshots))
	}
	return snapshotOf(out.Snapshots[0]), nil
}

// await waits until a snapshot is completed. One that is not found was made a moment ago, unless it stays so.
func (s *Store) await(ctx context.Context, id string) (Snapshot, error) {
	missing := 0
	for {
		now, err := s.describe(ctx, id)
		switch {
		case awsapi.Is(err, "InvalidSnapshot.NotFound") && missing < patience:
			missing++
		case err != nil:
			return Snapshot{}, err
		case now.Status == "completed":
			return now, nil
		case now.Status == "error":
			return Snapshot{}, fmt.Errorf("%w: %s ended in error", errLost, id)
		}
		if err := pause.For(ctx, s.opts.Poll); err != nil {
			return Snapshot{}, fmt.Errorf("wait for snapshot %s: %w", id, err)
		}
	}
}

// mark says that a snapshot is whole.
func (s *Store) mark(ctx context.Context, n Snapshot, blocks int) (Snapshot, error) {
	_, err := s.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{n.ID}, Tags: ec2Tags(tagBlocks, strconv.Itoa(blocks))})
	n.Whole = err == nil
	return n, err
}

// seal marks a completed snapshot if all blocks of the disk are there that are not zero: one whose upload died before it said so,
// and every child. One that lacks some is removed. (AWS completes none whose count or checksum is wrong; other endpoints call a
// snapshot completed that is still written, or give a child nothing of its parent.)
func (s *Store) seal(ctx context.Context, n Snapshot, plan Plan) (Snapshot, error) {
	there, err := s.blocks(ctx, n.ID)
	if err != nil {
		return Snapshot{}, err
	}
	for i := range plan.sums.blocks() {
		if _, ok := there[i]; ok || !plan.sums.has(i) {
			continue
		}
		if err := s.discard(ctx, n.ID); err != nil {
			return Snapshot{}, err
		}
		err := fmt.Errorf("%w: %s lacks block %d", errLost, n.ID, i)
		if n.Parent != none {
			err = fmt.Errorf("%w: %w", err, errBare)
		}
		return Snapshot{}, err
	}
	return s.mark(ctx, n, len(changed(plan.sums, s.recorded(n.Parent))))
}

// blocks are the tokens of all blocks of a snapshot, by index.
func (s *Store) blocks(ctx context.Context, id string) (map[int]string, error) {
	there := map[int]string{}
	pages := ebs.NewListSnapshotBlocksPaginator(s.ebs, &ebs.ListSnapshotBlocksInput{SnapshotId: aws.String(id), MaxResults: aws.Int32(10000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the blocks of %s: %w", id, err)
		}
		for _, b := range page.Blocks {
			there[int(aws.ToInt32(b.BlockIndex))] = aws.ToString(b.BlockToken)
		}
	}
	return there, nil
}

// discard removes a snapshot; an absent one is success.
func (s *Store) discard(ctx context.Context, id string) error {
	_, err := s.ec2.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: aws.String(id)})
	switch {
	case awsapi.Is(err, "InvalidSnapshot.NotFound"):
		return nil
	case awsapi.Is(err, "InvalidSnapshot.InUse"):
		return fault.New(fault.Conflict, "remove snapshot %s: %w", id, err).WithHint("an image that was registered by other means uses it: deregister that first")
	case err != nil:
		return fmt.Errorf("remove snapshot %s: %w", id, err)
	}
	return nil
}
