package ami

import (
	"context"
	"errors"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/bootandshoot/release/internal/awsapi"
)

// Remove deregisters an image and deletes its snapshot; what is gone already is success. Instances that were launched from it run on. The
// snapshot that a later one was made from may go: AWS keeps the blocks that others need.
func (s *Store) Remove(ctx context.Context, i Image) error {
	in := s.in(i.Region)
	_, err := in.ec2.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: aws.String(i.ID)})
	if err != nil && !awsapi.Is(err, "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable") {
		return awsapi.Explain("deregister image "+i.ID, err)
	}
	if i.Snapshot == "" {
		return nil
	}
	return in.RemoveSnapshot(ctx, Snapshot{ID: i.Snapshot, Disk: i.Disk})
}

// RemoveSnapshot deletes a snapshot that no image has, and what is recorded of its upload.
func (s *Store) RemoveSnapshot(ctx context.Context, n Snapshot) error {
	if recordable(n.Disk) {
		for _, file := range []string{s.writtenFile(n.Disk), s.sumsFile(n.Disk)} {
			if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
				s.log.Warn("a record of an upload stays", "error", err)
			}
		}
	}
	return awsapi.Explain("remove a snapshot of disk "+n.Disk, s.discard(ctx, n.ID))
}

// Orphans are the snapshots of the installation in this region that no image has: what a killed or an abandoned upload left. One whose
// upload still runs is among them, and Status says "pending".
func (s *Store) Orphans(ctx context.Context) ([]Snapshot, error) {
	const doing = "look for snapshots that no image has"
	all, err := s.snapshots(ctx) // before the images: one that gets its image in between is no orphan
	if err != nil {
		return nil, awsapi.Explain(doing, err)
	}
	found, err := s.images(ctx)
	if err != nil {
		return nil, awsapi.Explain(doing, err)
	}
	used := map[string]bool{}
	for _, i := range found {
		used[i.Snapshot] = true
	}
	var orphans []Snapshot
	for _, n := range all {
		if !used[n.ID] {
			orphans = append(orphans, n)
		}
	}
	return orphans, nil
}
