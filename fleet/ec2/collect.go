package ec2

import (
	"context"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/ami"
)

// collectGrace is how long what was just made stays: its launch may not have come to its template yet.
const collectGrace = time.Hour

// Collected is an AMI, or a snapshot without one, that a collection kept or removed, and why.
type Collected struct {
	Kind   string // "AMI", "snapshot"
	ID     string
	Region string
	Image  string // digest in the image store
	Keep   bool
	Reason string
}

// Collect deregisters the AMIs of this installation that nothing needs, with their snapshots, and deletes snapshots that no AMI has, in the
// region and where images are copied to. An AMI stays as long as its image is needed (has), a fleet here runs it, or it is younger than
// an hour; a snapshot without one as long as it may be written to. What has cannot tell ends the collection: nothing goes on a doubt.
func (d *Driver) Collect(ctx context.Context, has func(image string) (bool, error), dry bool) ([]Collected, error) {
	used, err := d.used(ctx)
	if err != nil {
		return nil, err
	}
	var all []Collected
	for _, region := range append([]string{d.region}, d.opts.CopyTo...) {
		some, err := d.collect(ctx, d.opts.Images.In(region), region, used, has, dry)
		all = append(all, some...)
		if err != nil {
			return all, explain("collect the AMIs in "+region, err)
		}
	}
	return all, nil
}

// used are the images that fleets here are made of, by what AWS says: another agent's, too.
func (d *Driver) used(ctx context.Context) (map[string]bool, error) {
	all, err := d.Tagged(ctx)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, t := range all {
		if t.Fleet != "" && t.Installation == d.opts.Installation {
			used[t.Image] = true
		}
	}
	return used, nil
}

func (d *Driver) collect(ctx context.Context, store *ami.Store, region string, used map[string]bool, has func(string) (bool, error), dry bool) (all []Collected, err error) {
	young := time.Now().Add(-collectGrace)
	orphans, err := store.Orphans(ctx) // before the AMIs go: theirs go with them
	if err != nil {
		return nil, err
	}
	images, err := store.Images(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		c := Collected{Kind: "AMI", ID: i.ID, Region: region, Image: i.Image}
		needed, err := has(i.Image)
		if err != nil {
			return all, err
		}
		switch {
		case used[i.Image]:
			c.Keep, c.Reason = true, "a fleet on EC2 is made of it"
		case needed:
			c.Keep, c.Reason = true, "its image is in the store, or a release on record needs it"
		case i.Created.After(young):
			c.Keep, c.Reason = true, "younger than an hour"
		default:
			c.Reason = "its image is not in the store, and no release on record needs it"
			if !dry {
				err = store.Remove(ctx, i)
			}
		}
		if all = append(all, c); err != nil {
			return all, err
		}
	}
	for _, n := range orphans {
		c := Collected{Kind: "snapshot", ID: n.ID, Region: region, Reason: "no AMI has it"}
		if c.Keep = n.Began.After(young); c.Keep {
			c.Reason = "younger than an hour"
		} else if !dry {
			err = store.RemoveSnapshot(ctx, n)
		}
		if all = append(all, c); err != nil {
			return all, err
		}
	}
	return all, nil
}
