package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2"
	"github.com/bootandshoot/release/fleet/ec2/ami"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
)

const ec2Name = config.DriverEC2

// regionFound bounds the search for a region that nobody set.
const regionFound = 5 * time.Second

// account is one account and region of AWS, as an installation uses it.
type account struct {
	settings     config.AgentEC2
	dir          string // records of uploads; made with the first fleet, so that its being there says that there may be some
	installation string
	images       *images.Store
	log          *slog.Logger
}

func (a *agent) account() account {
	return account{settings: a.settings.EC2, dir: filepath.Join(a.dir, ec2Name), installation: a.installation, images: a.images, log: a.log}
}

func (a *agent) ec2Driver() (fleet.Driver, error) {
	c := a.account()
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fault.New(fault.Denied, "make the folder of uploads: %w", err)
	}
	return c.driver()
}

// driver makes the driver. It asks nobody at AWS.
func (c account) driver() (*ec2.Driver, error) {
	ctx, cancel := context.WithTimeout(context.Background(), regionFound)
	defer cancel()
	s := c.settings
	cfg, err := awsapi.Load(ctx, awsapi.Options{Region: s.Region, Endpoint: s.Endpoint})
	if err != nil {
		return nil, err
	}
	amis, err := ami.New(cfg, ami.Options{Installation: c.installation, Dir: c.dir, Log: c.log})
	if err != nil {
		return nil, err
	}
	return ec2.New(cfg, ec2.Options{Installation: c.installation, Images: amis, Disk: c.disk, Log: c.log,
		Place: fleet.Placement{Subnets: s.Subnets, Groups: s.SecurityGroups}, Encrypt: s.Encrypt, Key: s.Key, CopyTo: s.CopyTo, ShareWith: s.ShareWith})
}

// disk opens the disk of an image's machine, which is read whole and compared with its digest first.
func (c account) disk(ctx context.Context, image string) (ec2.Disk, error) {
	m, err := c.images.CheckMachine(ctx, images.Digest(image))
	if fault.Is(err, fault.Unsupported) {
		return ec2.Disk{}, fmt.Errorf("%w: %w", fleet.ErrImageLacksTarget, err)
	}
	if err != nil {
		return ec2.Disk{}, err
	}
	if m.Disk.Format != images.DiskRaw {
		return ec2.Disk{}, fault.New(fault.Unsupported, "its disk is a %s, and snapshots are made of raw ones", m.Disk.Format).WithHint("bake it without --format")
	}
	f, err := os.Open(c.images.BlobPath(m.Disk.Digest))
	if err != nil {
		return ec2.Disk{}, fmt.Errorf("open the disk of %s: %w", image, err)
	}
	return ec2.Disk{Disk: ami.Disk{Content: f, Size: m.Disk.Capacity, Digest: string(m.Disk.Digest)}, Arch: m.Arch, Close: func() { _ = f.Close() }}, nil
}

// used says whether the installation may have something in the account.
func (c account) used() bool {
	_, err := os.Stat(c.dir)
	return !errors.Is(err, os.ErrNotExist)
}

// chooseEC2 says early, and not when a node is to boot, that nobody there knows us.
func (d *drivers) chooseEC2(ctx context.Context) (string, error) {
	made, err := d.Driver(ec2Name)
	if err != nil {
		return "", err
	}
	_, err = made.(fleet.Scoped).Scope(ctx)
	return ec2Name, err
}
