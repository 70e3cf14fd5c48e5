// Package install lays Debian packages out and configures them as an installed system, as layers of an image. It needs no
// privileges beyond a user namespace with a range of ids, and the same packages give the same bytes everywhere.
//
// The work is dpkg's, shared between this package and the dpkg of the image itself:
//
//	open        control members are read; batches that need not be apart are joined
//	preinst     the batch's preinst scripts run in a sandbox over what is installed so far (in a first stage, where there
//	            is nothing yet: over the batch's own files, as debootstrap and mmdebstrap do)
//	unpack      each file goes once, straight from the decoder, into the folder of its group
//	settle      the names are put in order as dpkg would have them: links that lead into folders, diversions, owners of
//	            folders, files that two packages have, statoverrides; dpkg's database says "unpacked"
//	configure   the image's dpkg --configure -a runs the postinst scripts and triggers in a sandbox
//	capture     what the scripts changed becomes the last layer, without what varies (see normalise.go)
//
// # Layers
//
// The packages of a batch are spread over a few groups by a hash of the name of their source package, so that a changed
// package moves one group's layer and the last layer only; sources that unpack to much have a group of their own. A
// group's folder is an overlay's lower folder as it stands: it becomes the layer's unpacked root in the store by renaming.
//
// # Limits
//
// Packages are installed, never upgraded or removed: a package that is installed already is refused. Files in the folders
// dev, proc, run, sys and tmp that scripts make are no part of the image.
//
// Sources: dpkg(1), deb-triggers(5), dpkg-divert(1), dpkg-statoverride(1), Debian Policy chapters 6, 7 and 10.
package install

import (
	"context"
	"log/slog"

	"github.com/bootandshoot/release/debian"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/sandbox"
)

// Item is one package to install.
type Item struct {
	Package debian.Package // as the index has it: name, version and architecture must be those of the file; SHA256 names it
	File    string         // path of the .deb, whose digest the caller has checked
}

// Options says what to install, on what.
type Options struct {
	Store *images.Store
	Arch  string // the system's, as dpkg names it: amd64, arm64
	Epoch int64  // time of what scripts change, and what they take for the date; in seconds since 1970
	// PackagesEpoch is the time of all that packages bring. It is another one so that a newer date does not make
	// other layers of the same packages.
	PackagesEpoch int64
	// Work is a folder on the store's file system for what is under way; it must exist. What is made in it is removed
	// before Install returns.
	Work string
	// Under are the layers that the packages come on, lowest first; none for a first stage, which must bring dpkg.
	Under []images.Layer
	// Batches are the packages in the order of resolve's Order: a batch is unpacked when those before are configured.
	Batches  [][]Item
	Cache    Cache       // nil: nothing is looked up or kept
	Progress func(Event) // nil: nobody wants to know; called from several goroutines, one at a time
	// Idle, when given, is called once the last package is being unpacked: from then on scripts run, one after the other,
	// and leave the other cores to who calls Begin.
	Idle func()
	Log  *slog.Logger

	// alter changes the sandbox of scripts, in tests: to give it another clock.
	alter func(*sandbox.Spec)
}

// Cache keeps what a key made. A key holds all that determines the value.
type Cache interface {
	// Layers finds the layers of a key; false when there are none, or the store lost one.
	Layers(key string) ([]images.Layer, bool)
	KeepLayers(key string, layers []images.Layer) error
}

// EventKind is what an Event tells.
type EventKind string

const (
	Unpacked EventKind = "unpacked" // Package is unpacked: Done of Total
	Output   EventKind = "output"   // a script or dpkg wrote Line
	Phase    EventKind = "phase"    // Line is begun: unpack, preinst, configure, capture
)

// Event is progress, for people.
type Event struct {
	Kind        EventKind
	Package     string
	Line        string
	Done, Total int
}

// Install lays the packages out over what is there and configures them. It returns the layers that come on top of Under,
// lowest first. The caller holds the store (images.Store.Hold) until an image with them is put. Errors name the package,
// the file or script, and the next step; then no layer is kept.
func Install(ctx context.Context, o Options) ([]images.Layer, error) {
	s, err := newStage(o, len(o.Under) > 0)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.install(ctx, func(ctx context.Context) error {
		if err := s.begin(ctx); err != nil {
			return err
		}
		if err := s.attach(ctx); err != nil {
			return err
		}
		s.startUnpacking(ctx)
		return nil
	})
}
