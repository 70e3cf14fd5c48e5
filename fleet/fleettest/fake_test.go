package fleettest

import (
	"testing"

	"github.com/bootandshoot/release/fleet"
)

func TestFakeKeepsTheContract(t *testing.T) {
	const image = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	fake := NewFake(FakeOptions{Serve: true, Images: []string{image}})
	Run(t, Harness{
		New:   func(*testing.T) fleet.Driver { return fake.Reopen("") },
		Other: func(*testing.T) fleet.Driver { return fake.Reopen("other") },
		Keeping: func(_ *testing.T, kept fleet.Tails) fleet.Driver {
			f := fake.Reopen("")
			f.opts.Tails = kept
			return f
		},
		Unavailable: func(*testing.T) fleet.Driver {
			f := NewFake(FakeOptions{})
			f.FailAll(fleet.ErrUnavailable)
			return f
		},
		Installation: "test", Image: image,
	})
}
