package swarm

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// A log that is followed goes on while no manager has a leader, and ends in an error when nobody can say whether the task ended.
func TestFollowedLogTellsWhyItEnds(t *testing.T) {
	const sound, broken = `{"ID":"x","NodeID":"a","Status":{"State":"complete"}}`, `{"message":"it is broken"}`
	for last, fails := range map[string]bool{sound: false, broken: true} {
		asked := 0
		d := asking(t, fakeManager(t, func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked <= 2 {
				leaderless(w, r)
				return
			}
			if last == broken {
				w.WriteHeader(http.StatusInternalServerError)
			}
			fmt.Fprint(w, last)
		}))
		var followed task
		followed.ID = "x"
		if err := d.awaitEnd(t.Context(), followed, time.Millisecond); (err != nil) != fails || asked != 3 {
			t.Errorf("%s, asked %d times: %v", last, asked, err)
		}
		raw, w := io.Pipe()
		if _, err := io.ReadAll(d.untilEnd(t.Context(), followed, raw)); (err != nil) != fails {
			t.Errorf("%s ends the log with %v", last, err)
		}
		w.Close()
	}
}

// noImages is a store without any.
type noImages struct{ Images }

func (noImages) OpenBlob(images.Digest) (*os.File, error) {
	return nil, fault.New(fault.NotFound, "there is none")
}

// A registry may have lost an image since the last launch.
func TestPrepareLooksAgain(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	there := true
	d := asking(t, fakeManager(t, func(w http.ResponseWriter, _ *http.Request) {
		if !there {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"no such manifest"}`)
			return
		}
		fmt.Fprint(w, `{}`)
	}))
	d.opts.Repository, d.opts.Images, d.pushed = "registry.example/team/releases", noImages{}, map[string]bool{}
	spec := fleet.Spec{Image: "sha256:" + strings.Repeat("a", 64)}
	if err := d.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	there = false
	if err := d.Prepare(t.Context(), spec); err == nil || errors.Is(err, fleet.ErrUnavailable) {
		t.Errorf("the image was removed: %v", err)
	}
}
