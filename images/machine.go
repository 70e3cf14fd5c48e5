package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"

	godigest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/internal/fault"
)

// AnnotationMachine is on the manifest of an image that is a machine, too: the digest of its Machine as a blob. So the image's
// digest, and whatever signs it, stands for the machine's bytes as well.
const AnnotationMachine = "release.machine"

// ArtifactMachine is the type of the artifact that keeps the blobs of an image's machine beside it: the Machine itself as JSON,
// the kernel, the initrd and the disk, in this order.
const ArtifactMachine = "application/vnd.bootandshoot.machine.v1+json"

// Media types of the blobs of that artifact. That of the disk ends in its format.
const (
	mediaKernel = "application/vnd.bootandshoot.machine.kernel"
	mediaInitrd = "application/vnd.bootandshoot.machine.initrd"
	mediaDisk   = "application/vnd.bootandshoot.machine.disk."
)

// machineSchema is the form of a Machine that is written and read.
const machineSchema = 1

// Formats of disks.
const (
	DiskRaw   = "raw"
	DiskQCOW2 = "qcow2"
)

// Machine is the machine form of an image: a disk that firmware boots, and the kernel, initrd and command line that boot the
// same disk without firmware. All of them are blobs of the store; Store.BlobPath is where. Nobody writes to the disk: it is the
// read-only base of any number of machines.
type Machine struct {
	Schema   int            `json:"schema"`
	Release  string         `json:"release"`           // of the kernel, such as 6.1.0-56-cloud-amd64
	Arch     string         `json:"arch"`              // as Go names it
	Cmdline  string         `json:"cmdline"`           // the kernel's, whole
	RootHash string         `json:"root_hash"`         // of the root's dm-verity tree, in hex
	Init     string         `json:"init"`              // the first program: "systemd", or "supervisor" for our own
	Volumes  []string       `json:"volumes,omitempty"` // labels of the data volumes that it waits for
	Packages []MachineInput `json:"packages"`          // that it was made from besides the image's layers
	Kernel   Descriptor     `json:"kernel"`
	Initrd   Descriptor     `json:"initrd"`
	Disk     MachineDisk    `json:"disk"`
}

// MachineInput is a package that is in no layer of the image.
type MachineInput struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	SHA256  string `json:"sha256"`
}

// MachineDisk is the disk of a machine.
type MachineDisk struct {
	Descriptor        // of the file
	Format     string `json:"format"`   // DiskRaw or DiskQCOW2
	Capacity   int64  `json:"capacity"` // bytes that the machine sees
}

// blobs are what a machine consists of, with their media types.
func (m Machine) blobs() []ocispec.Descriptor {
	list := []ocispec.Descriptor{{MediaType: mediaKernel}, {MediaType: mediaInitrd}, {MediaType: mediaDisk + m.Disk.Format}}
	for i, d := range []Descriptor{m.Kernel, m.Initrd, m.Disk.Descriptor} {
		list[i].Digest, list[i].Size = godigest.Digest(d.Digest), d.Size
	}
	return list
}

// Machine gives the machine form of an image. One that has none is fault.Unsupported; one whose blobs are not all here, as after
// a pull of the container alone, is fault.NotFound.
func (s *Store) Machine(image Digest) (Machine, error) {
	img, err := s.Get(image)
	if err != nil {
		return Machine{}, err
	}
	d, err := img.machineDigest()
	if err != nil {
		return Machine{}, fmt.Errorf("take the machine of image %s: %w", image.Short(), err)
	}
	m, err := s.readMachine(d)
	if err != nil {
		return m, fmt.Errorf("take the machine of image %s: %w", image.Short(), err)
	}
	return m, nil
}

// IsMachine says that the image has a machine form.
func (i Image) IsMachine() bool { return i.Annotations[AnnotationMachine] != "" }

func (i Image) machineDigest() (Digest, error) {
	d := Digest(i.Annotations[AnnotationMachine])
	switch {
	case d == "":
		return "", fault.New(fault.Unsupported, "the image is a container only").WithHint("bake it as a machine, too: release bake --target container,machine")
	case !d.Valid():
		return "", fault.New(fault.Invalid, "its annotation %s is %q, no digest", AnnotationMachine, string(d))
	}
	return d, nil
}

// readMachine reads a machine and looks whether its blobs are there.
func (s *Store) readMachine(d Digest) (Machine, error) {
	const hint = "bake the image again, or pull it with its artifacts"
	var m Machine
	data, err := s.readBlob(d)
	if fault.Is(err, fault.NotFound) {
		return m, fault.New(fault.NotFound, "its machine form is not in the store").WithHint(hint)
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fault.New(fault.Invalid, "blob %s is no machine: %w", d, err)
	}
	if m.Schema != machineSchema {
		return m, fault.New(fault.Unsupported, "its machine form has schema %d, this version of release reads %d", m.Schema, machineSchema).WithHint("take a newer release, or bake again")
	}
	if m.Disk.Format != DiskRaw && m.Disk.Format != DiskQCOW2 {
		return m, fault.New(fault.Invalid, "its disk has the format %q", m.Disk.Format)
	}
	for _, b := range m.blobs() {
		if !s.Has(Digest(b.Digest)) {
			return m, fault.New(fault.NotFound, "blob %s of its machine form is not in the store", b.Digest).WithHint(hint)
		}
	}
	return m, nil
}

// CheckMachine reads the machine of an image whole and compares it with its digests. A blob that is damaged is ErrDamaged.
func (s *Store) CheckMachine(ctx context.Context, image Digest) (Machine, error) {
	m, err := s.Machine(image)
	if err != nil {
		return m, err
	}
	for _, b := range m.blobs() {
		if err := s.checkBlob(ctx, describe(b)); err != nil {
			return m, fmt.Errorf("check the machine of image %s: %w", image.Short(), err)
		}
	}
	return m, nil
}

func (s *Store) checkBlob(ctx context.Context, d Descriptor) error {
	blob, err := s.OpenVerified(d)
	if err != nil {
		return err
	}
	defer blob.Close()
	_, err = io.CopyBuffer(writerOnly{io.Discard}, contextReader{ctx, onlyReader{blob}}, make([]byte, copyBuffer))
	return err
}

// WriteMachine stores what a machine is made of as one blob, and gives the image that has it. All its other blobs are in the
// store. The caller holds until AttachMachine.
func (s *Store) WriteMachine(ctx context.Context, img Image, m Machine) (Image, error) {
	m.Schema = machineSchema
	data, err := json.Marshal(m)
	if err != nil {
		return img, fmt.Errorf("write machine: %w", err)
	}
	d, err := s.WriteBlob(ctx, bytes.NewReader(data))
	if err != nil {
		return img, err
	}
	img.Annotations = maps.Clone(img.Annotations)
	if img.Annotations == nil {
		img.Annotations = map[string]string{}
	}
	img.Annotations[AnnotationMachine] = string(d.Digest)
	return img, nil
}

// AttachMachine lists the machine of an image with it, so that it lives as long, and goes where it goes.
func (s *Store) AttachMachine(ctx context.Context, image Digest) error {
	release, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	img, raw, err := s.read(image)
	if err != nil {
		return err
	}
	d, err := img.machineDigest()
	if err != nil {
		return err
	}
	m, err := s.readMachine(d)
	if err != nil {
		return err
	}
	data, err := s.readBlob(d)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: ArtifactMachine,
		Config:  contentDescriptor(ocispec.MediaTypeEmptyJSON, emptyConfig),
		Subject: new(contentDescriptor(ocispec.MediaTypeImageManifest, raw)),
		Layers:  append([]ocispec.Descriptor{contentDescriptor(ArtifactMachine, data)}, m.blobs()...),
	})
	if err != nil {
		return fmt.Errorf("write machine manifest: %w", err)
	}
	for _, b := range [][]byte{emptyConfig, manifest} {
		if _, err := s.WriteBlob(ctx, bytes.NewReader(b)); err != nil {
			return fmt.Errorf("attach machine to image %s: %w", image.Short(), err)
		}
	}
	return s.refer(ctx, image, DigestOf(manifest), nil)
}

// BlobPath is the file of a blob, for programs that open it themselves and only read it.
func (s *Store) BlobPath(d Digest) string { return s.blobPath(d) }

// MakeBlob stores what a function writes into an empty file, in any order; what it leaves out is zero, and stays a hole.
func (s *Store) MakeBlob(ctx context.Context, write func(*os.File) error) (Descriptor, error) {
	w, err := s.newBlob()
	if err != nil {
		return Descriptor{}, err
	}
	defer w.abort()
	f := w.file.Handle()
	if err := write(f); err != nil {
		return Descriptor{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Descriptor{}, diskError(err, "write blob")
	}
	w.size, err = io.CopyBuffer(w.hash, contextReader{ctx, onlyReader{f}}, make([]byte, copyBuffer))
	if err != nil {
		return Descriptor{}, diskError(err, "write blob")
	}
	return w.commit(ctx)
}
