package ami

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/pause"
)

// Plan is what an upload of a disk moves.
type Plan struct {
	Blocks int    // of the disk, zeros included
	Moves  []int  // indexes of the blocks to write, in order
	Parent string // digest of the disk that the others are shared with; "": none
	sums   sums
	from   Snapshot // the parent's
}

// Plan says what Upload would move if it began now.
func (s *Store) Plan(ctx context.Context, d Disk) (Plan, error) {
	if !recordable(d.Digest) || d.Size <= 0 || d.Size > 64<<40 {
		return Plan{}, fault.New(fault.Invalid, "upload disk %q of %d bytes: it has no digest, or no size that a volume can have", d.Digest, d.Size)
	}
	all, err := s.sumsFor(ctx, d)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Blocks: all.blocks(), sums: all}
	before := s.recorded(d.Previous)
	if before != nil && d.Previous != d.Digest {
		parent, err := s.parent(ctx, d)
		if err != nil {
			return Plan{}, err
		}
		if parent.ID != "" {
			p.Parent, p.from = d.Previous, parent
		}
	}
	if p.Parent == "" {
		before = nil
	}
	p.Moves = changed(all, before)
	return p, nil
}

// attempts is how many snapshots are begun for one upload: each further one because the one before it ended or is gone.
const attempts = 5

// Upload makes sure that there is a completed snapshot of a disk, and gives it. It goes on with what an earlier call began. Errors
// are classed as those of AWS are (internal/awsapi).
func (s *Store) Upload(ctx context.Context, d Disk) (Snapshot, error) {
	plan, err := s.Plan(ctx, d)
	if err != nil {
		return Snapshot{}, awsapi.Explain("plan the upload of disk "+d.Digest, err)
	}
	for attempt := range attempts {
		var got Snapshot
		got, err = s.try(ctx, d, plan, attempt)
		if !errors.Is(err, errLost) {
			return got, awsapi.Explain("upload disk "+d.Digest, err)
		}
		if errors.Is(err, errBare) {
			plan.Parent, plan.from, plan.Moves = "", Snapshot{}, changed(plan.sums, nil)
		}
		s.log.Warn("a snapshot under way is lost; another one is begun", "disk", d.Digest, "error", err)
	}
	return Snapshot{}, fault.New(fault.Failed, "upload disk %s: %w", d.Digest, err).WithHint("look at the snapshots that are tagged %s=%s", tagDisk, d.Digest)
}

// errLost: the snapshot cannot be written any more.
var errLost = errors.New("the snapshot is gone, has ended, or is not whole")

// errBare: a child does not have its parent's blocks.
var errBare = errors.New("the parent's blocks are missing")

func (s *Store) try(ctx context.Context, d Disk, plan Plan, attempt int) (Snapshot, error) {
	found, err := s.begun(ctx, d, plan)
	if err != nil {
		return Snapshot{}, err
	}
	switch {
	case found.Whole:
		return found, nil
	case found.Status == "completed":
		s.forget(d)
		return s.seal(ctx, found, plan)
	case found.ID == "":
		if found.ID, err = s.start(ctx, d, plan, attempt); err != nil {
			return Snapshot{}, err
		}
	}
	if err := s.fill(ctx, d, plan, found.ID); errors.Is(err, errLost) {
		return s.settle(ctx, d, found.ID, plan, err)
	} else if err != nil {
		return Snapshot{}, err
	}
	done, err := s.await(ctx, found.ID)
	if err != nil {
		return Snapshot{}, err
	}
	s.forget(d)
	if plan.Parent != "" { // what was not written is somebody else's word
		return s.seal(ctx, done, plan)
	}
	return s.mark(ctx, done, len(plan.Moves))
}

// settle decides on a snapshot that takes no more blocks, or is not what its record says: one that was told to complete, by a
// process that died or by another one, gets there by itself; any other is removed, and cause returned.
func (s *Store) settle(ctx context.Context, d Disk, id string, plan Plan, cause error) (Snapshot, error) {
	s.forget(d)
	for range patience {
		now, err := s.describe(ctx, id)
		switch {
		case awsapi.Is(err, "InvalidSnapshot.NotFound"):
			return Snapshot{}, cause
		case err != nil:
			return Snapshot{}, err
		case now.Status == "completed":
			return s.seal(ctx, now, plan)
		case now.Status == "error":
			return Snapshot{}, errors.Join(cause, s.discard(ctx, id))
		}
		if err := pause.For(ctx, s.opts.Poll); err != nil {
			return Snapshot{}, err
		}
	}
	return Snapshot{}, errors.Join(cause, s.discard(ctx, id))
}

// patience is how many looks a snapshot gets that may be about to complete.
const patience = 30

// forget removes the record of what was written.
func (s *Store) forget(d Disk) {
	if err := os.Remove(s.writtenFile(d.Digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("a record of an upload stays", "error", err)
	}
}

// start begins a snapshot. A call that is repeated with the same token is the same snapshot, also when the first answer was lost
// and the snapshot is not listed yet.
func (s *Store) start(ctx context.Context, d Disk, plan Plan, attempt int) (string, error) {
	parent := none
	in := &ebs.StartSnapshotInput{VolumeSize: aws.Int64(max(gibOf(d.Size), plan.from.GiB)), Description: aws.String("release: disk " + d.Digest), Timeout: aws.Int32(60)}
	if plan.Parent != "" {
		parent, in.ParentSnapshotId = plan.Parent, aws.String(plan.from.ID)
	} else if d.Encrypt {
		in.Encrypted = aws.Bool(true)
		if d.Key != "" {
			in.KmsKeyArn = aws.String(d.Key)
		}
	}
	token := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%d\n%v %s\n%d", s.opts.Installation, d.Digest, aws.ToString(in.ParentSnapshotId), *in.VolumeSize, d.Encrypt, d.Key, attempt))
	in.ClientToken = aws.String(hex.EncodeToString(token[:]))
	for _, t := range [][2]string{{"Name", "release " + s.opts.Installation}, {tagInstallation, s.opts.Installation}, {tagDisk, d.Digest}, {tagParent, parent}} {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(t[0]), Value: aws.String(t[1])})
	}
	out, err := s.ebs.StartSnapshot(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.SnapshotId), nil
}

// fill writes the blocks that a snapshot lacks and completes it.
func (s *Store) fill(ctx context.Context, d Disk, plan Plan, id string) error {
	record, err := s.openWritten(d.Digest, id)
	if err != nil {
		return err
	}
	defer record.close()
	if err := s.put(ctx, d, plan, id, record); err != nil {
		return lost(err)
	}
	all := sha256.New()
	for _, i := range plan.Moves {
		sum := plan.sum(i)
		all.Write(sum[:])
	}
	_, err = s.ebs.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: aws.String(id), ChangedBlocksCount: aws.Int32(int32(len(plan.Moves))),
		Checksum: aws.String(base64.StdEncoding.EncodeToString(all.Sum(nil))), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
		ChecksumAggregationMethod: types.ChecksumAggregationMethodChecksumAggregationLinear})
	return lost(err)
}

// sum is the checksum of a block as it is written: zeros have one there.
func (p Plan) sum(i int) [sha256.Size]byte {
	if !p.sums.has(i) {
		return sha256.Sum256(zeros)
	}
	return [sha256.Size]byte(p.sums.of(i))
}

// lost marks errors that say that a snapshot cannot be written any more.
func lost(err error) error {
	if awsapi.Is(err, "ResourceNotFoundException", "ValidationException") {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return err
}

// put sends the blocks that the record lacks, many at a time.
func (s *Store) put(ctx context.Context, d Disk, plan Plan, id string, record *written) error {
	missing := slices.DeleteFunc(slices.Clone(plan.Moves), func(i int) bool { return record.done[i] })
	group, ctx := errgroup.WithContext(ctx)
	todo := make(chan int)
	group.Go(func() error {
		defer close(todo)
		for _, i := range missing {
			select {
			case todo <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	var telling sync.Mutex
	for range min(s.opts.Parallel, len(missing)) {
		group.Go(func() error {
			block := make([]byte, BlockSize)
			for i := range todo {
				if err := s.putBlock(ctx, d, plan, id, i, block); err != nil {
					return err
				}
				done, err := record.add(i)
				if err != nil {
					return err
				}
				if d.Progress != nil {
					telling.Lock()
					d.Progress(Progress{Done: done, Total: len(plan.Moves)})
					telling.Unlock()
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (s *Store) putBlock(ctx context.Context, d Disk, plan Plan, id string, i int, block []byte) error {
	want := plan.sum(i)
	if i >= plan.sums.blocks() {
		clear(block)
	} else {
		sum, zero, err := readBlock(d, i, block)
		if err != nil {
			return err
		}
		if !zero && sum != want || zero && plan.sums.has(i) {
			return fault.New(fault.Conflict, "the disk changed while it was uploaded: block %d is not what it was", i).
				WithHint("nothing may write to a disk that is uploaded; remove %s and try again", s.sumsFile(d.Digest))
		}
	}
	_, err := s.ebs.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{SnapshotId: aws.String(id), BlockIndex: aws.Int32(int32(i)), BlockData: bytes.NewReader(block),
		DataLength: aws.Int32(BlockSize), Checksum: aws.String(base64.StdEncoding.EncodeToString(want[:])), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256})
	if err != nil {
		return fmt.Errorf("write block %d of %s: %w", i, id, err)
	}
	return nil
}
