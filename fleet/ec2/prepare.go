package ec2

import (
	"context"
	"errors"
	"fmt"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/ami"
	"github.com/bootandshoot/release/internal/fault"
)

// Prepare makes sure that the image is an AMI in the region, uploading its disk if it is not, and in the other regions, and that the other
// accounts may launch it.
func (d *Driver) Prepare(ctx context.Context, spec fleet.Spec) error {
	return d.PrepareReporting(ctx, spec, nil)
}

// PrepareReporting is Prepare that says how much of the disk is uploaded.
func (d *Driver) PrepareReporting(ctx context.Context, spec fleet.Spec, report func(fleet.Progress)) error {
	doing := "prepare " + spec.Fleet.String()
	if err := supported(spec); err != nil {
		return err
	}
	if _, err := d.place(ctx, spec); err != nil {
		return explain(doing, err)
	}
	image, err := d.image(ctx, spec.Image, report)
	if err != nil {
		return explain(doing, err)
	}
	return explain(doing, d.spread(ctx, image))
}

// image is the AMI of an image, made if there is none. The disk is needed only then: another agent may have uploaded it. Calls for the same
// image wait for each other.
func (d *Driver) image(ctx context.Context, digest string, report func(fleet.Progress)) (ami.Image, error) {
	p := d.wait(digest)
	defer d.leaves(digest, p)
	done, err := turn(ctx, p.turn)
	if err != nil {
		return ami.Image{}, err
	}
	defer done()
	there, err := d.opts.Images.Of(ctx, digest, d.opts.Encrypt)
	if err != nil || there.ID != "" {
		return there, err
	}
	disk, err := d.opts.Disk(ctx, digest)
	if err != nil {
		return ami.Image{}, fmt.Errorf("take the machine of %s: %w", digest, err)
	}
	if disk.Close != nil {
		defer disk.Close()
	}
	disk.Encrypt, disk.Key = d.opts.Encrypt, d.opts.Key
	if disk.Previous == "" {
		if disk.Previous, err = d.opts.Images.Nearest(ctx, disk.Disk); err != nil {
			return ami.Image{}, err
		}
	}
	disk.Progress = uploading(report)
	return d.opts.Images.Publish(ctx, disk.Disk, ami.Form{Image: digest, Arch: disk.Arch})
}

// place is where the calls for one image wait for each other.
type place struct {
	turn    chan struct{} // who looks for the image, or uploads it, has put something in
	waiting int           // calls; guarded by the driver's lock
}

func (d *Driver) wait(digest string) *place {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.images[digest]
	if p == nil {
		p = &place{turn: make(chan struct{}, 1)}
		d.images[digest] = p
	}
	p.waiting++
	return p
}

// leaves is for the end of a call: the last one takes the place away.
func (d *Driver) leaves(digest string, p *place) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.waiting--; p.waiting == 0 {
		delete(d.images, digest)
	}
}

// uploading passes progress on in bytes; what begins anew does not go back.
func uploading(report func(fleet.Progress)) func(ami.Progress) {
	if report == nil {
		return nil
	}
	var last fleet.Progress
	return func(p ami.Progress) {
		if last.Total == 0 {
			last = fleet.Progress{Doing: "uploading", Total: int64(p.Total) * ami.BlockSize}
		}
		last.Done = min(last.Total, max(last.Done, int64(p.Done)*ami.BlockSize))
		report(last)
	}
}

// spread brings an AMI to the other regions and accounts.
func (d *Driver) spread(ctx context.Context, image ami.Image) error {
	all := []ami.Image{image}
	for _, region := range d.opts.CopyTo {
		if region == d.region {
			continue
		}
		other, err := d.opts.Images.Copy(ctx, image, region)
		if err != nil {
			return err
		}
		all = append(all, other)
	}
	var errs []error
	for _, i := range all {
		errs = append(errs, d.opts.Images.Share(ctx, i, d.opts.ShareWith...))
	}
	return errors.Join(errs...)
}

// supported refuses what instances cannot be.
func supported(spec fleet.Spec) error {
	switch {
	case spec.Kind == fleet.Once:
		return fault.New(fault.Unsupported, "run a job on EC2: EC2 does not tell how a system ended").WithHint("run jobs and migrations with another driver, on the agent's machine")
	case len(spec.Volumes) > 0:
		return fault.New(fault.Unsupported, "boot %s on EC2: its instances have no volumes of ours", spec.Fleet).WithHint("keep data outside of the nodes, or use another driver")
	case len(spec.Command) > 0:
		return fault.New(fault.Unsupported, "boot %s on EC2: a machine runs its image's services, not another command", spec.Fleet).WithHint("remove the command, or make it a service of the recipe")
	case spec.Resources != fleet.Resources{}:
		return fault.New(fault.Invalid, "boot %s on EC2: resources are given, and an instance's size is its type", spec.Fleet).WithHint("remove fleet.resources and choose instance types")
	}
	return nil
}
