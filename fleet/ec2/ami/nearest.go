package ami

import (
	"context"

	"github.com/bootandshoot/release/internal/awsapi"
)

// Nearest is the digest of the disk, of those that were uploaded from this folder and have a whole snapshot yet, with which a disk shares
// the most blocks: its best previous one. "" for none that spares an upload anything.
func (s *Store) Nearest(ctx context.Context, d Disk) (string, error) {
	const doing = "look for a disk to upload over"
	there, err := s.snapshots(ctx, filter("status", "completed"))
	if err != nil {
		return "", awsapi.Explain(doing, err)
	}
	now, err := s.sumsFor(ctx, d)
	if err != nil {
		return "", awsapi.Explain(doing, err)
	}
	best, least := "", len(changed(now, nil))
	for _, n := range there {
		before := s.recorded(n.Disk)
		if !n.Whole || n.Disk == d.Digest || before == nil || !n.fits(d) || n.Encrypted != d.Encrypt {
			continue
		}
		if moves := len(changed(now, before)); moves < least {
			best, least = n.Disk, moves
		}
	}
	return best, nil
}
