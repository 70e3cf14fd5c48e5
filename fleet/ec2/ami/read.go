package ami

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"golang.org/x/sync/errgroup"

	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
)

// Read writes the blocks of a completed snapshot to where they are on the disk, and gives the size of its volume in bytes. What
// no block covers is zeros, which are not written: to is an empty, sparse file. Each block is checked with its checksum.
func (s *Store) Read(ctx context.Context, id string, to io.WriterAt) (size int64, err error) {
	defer func() { err = awsapi.Explain("read snapshot "+id, err) }()
	n, err := s.describe(ctx, id)
	if err != nil {
		return 0, err
	}
	there, err := s.blocks(ctx, id)
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(s.opts.Parallel)
	for index, token := range there {
		group.Go(func() error { return s.readBlock(ctx, id, index, token, to) })
	}
	return n.GiB << 30, group.Wait()
}

func (s *Store) readBlock(ctx context.Context, id string, index int, token string, to io.WriterAt) error {
	out, err := s.ebs.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: aws.String(id), BlockIndex: aws.Int32(int32(index)), BlockToken: aws.String(token)})
	if err != nil {
		return fmt.Errorf("read block %d: %w", index, err)
	}
	defer out.BlockData.Close()
	block, err := io.ReadAll(io.LimitReader(out.BlockData, BlockSize+1))
	if err != nil {
		return fmt.Errorf("read block %d: %w", index, err)
	}
	sum := sha256.Sum256(block)
	if len(block) != BlockSize || base64.StdEncoding.EncodeToString(sum[:]) != aws.ToString(out.Checksum) {
		return fault.New(fault.Failed, "block %d does not have the checksum that AWS says", index)
	}
	_, err = to.WriteAt(block, int64(index)*BlockSize)
	return err
}
