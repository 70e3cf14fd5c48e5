package ec2

import (
	"context"
	"fmt"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2/ami"
	"github.com/bootandshoot/release/internal/fault"
)

// Prepare makes sure that the image is an AMI in the region, uploading its disk if it is not.
func (d *Driver) Prepare(ctx context.Context, spec fleet.Spec) error {
	if err := supported(spec); err != nil {
		return err
	}
	_, err := d.image(ctx, spec.Image)
	if err != nil {
		return explain("prepare "+spec.Fleet.String(), err)
	}
	return nil
}

// image is the AMI of an image, made if there is none.
func (d *Driver) image(ctx context.Context, digest string) (ami.Image, error) {
	disk, err := d.opts.Disk(ctx, digest)
	if err != nil {
		return ami.Image{}, fmt.Errorf("take the machine of %s: %w", digest, err)
	}
	if disk.Close != nil {
		defer disk.Close()
	}
	return d.opts.Images.Publish(ctx, disk.Disk, ami.Form{Image: digest, Arch: disk.Arch})
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
