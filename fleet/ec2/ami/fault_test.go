package ami

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
)

// TestKilledAtEveryCall kills the way from a disk to a copied image at each request, before it is sent and after it was carried
// out. The next process ends it, and there is one image, one snapshot in each region, and nothing else.
func TestKilledAtEveryCall(t *testing.T) {
	before, after := diskOf(5, 6, 0, 1, 2), diskOf(5, 6, 0, 1, 2)
	after.fill(6, 1)
	after.fill(6, 4)
	for _, late := range []bool{false, true} {
		runs := 0
		for at := 1; ; at++ {
			died := false
			t.Run(fmt.Sprintf("at %d, after %v", at, late), func(t *testing.T) {
				c := here(t, awstest.Options{Takes: 2 * time.Millisecond, Lag: 2 * time.Millisecond})
				if _, err := c.store().Publish(t.Context(), before.disk(), Form{Arch: "amd64"}); err != nil {
					t.Fatal(err)
				}
				d := after.disk()
				d.Previous = before.disk().Digest
				way := func(s *Store) error {
					i, err := s.Publish(t.Context(), d, Form{Image: "sha256:1", Arch: "amd64"})
					if err == nil {
						_, err = s.Copy(t.Context(), i, "us-west-2")
					}
					if err == nil {
						err = s.Share(t.Context(), i, "111122223333")
					}
					return err
				}
				killer := &awstest.Killer{At: at, After: late}
				err := way(c.store(with(killer), func(_ *awsapi.Options, o *Options) { o.Parallel = 1 }))
				if died = killer.Dead(); !died {
					if err != nil {
						t.Fatal(err)
					}
				} else if err == nil && at < 5 {
					t.Fatal("a killed process ended well")
				}
				if err := way(c.store()); err != nil {
					t.Fatalf("the next process: %v", err)
				}
				for region, want := range map[string]int{"eu-central-1": 2, "us-west-2": 1} {
					s := c.store().in(region)
					images, err := s.Images(t.Context())
					snapshots, serr := s.snapshots(t.Context())
					if err != nil || serr != nil || len(images) != want || len(snapshots) != want {
						t.Fatalf("%s: %d images and %d snapshots, want %d: %v %v\n%+v", region, len(images), len(snapshots), want, err, serr, snapshots)
					}
					for _, i := range images {
						if i.Disk == d.Digest {
							readBack(t, s, i.Snapshot, after)
						}
					}
				}
			})
			if !died || t.Failed() {
				break
			}
			runs++
		}
		if runs < 15 {
			t.Errorf("only %d calls were killed", runs)
		}
	}
}

func TestResumeSendsOnlyTheRest(t *testing.T) {
	c := here(t, awstest.Options{})
	disk := diskOf(7, 60, seq(60)...)
	killer := &awstest.Killer{At: 32}
	if _, err := c.store(with(killer), func(_ *awsapi.Options, o *Options) { o.Parallel = 4 }).Upload(t.Context(), disk.disk()); err == nil {
		t.Fatal("a killed process ended well")
	}
	sent := c.puts()
	n, err := c.store().Upload(t.Context(), disk.disk())
	if err != nil {
		t.Fatal(err)
	}
	if all := c.puts(); sent < 20 || all > 60+4 {
		t.Errorf("%d blocks were sent before the kill and %d in all, of 60", sent, all)
	}
	readBack(t, c.store(), n.ID, disk)
}

// TestRecordIsNoTruth: without the record, with one that is cut or says what is not so, the disk is there in the end.
func TestRecordIsNoTruth(t *testing.T) {
	disk := diskOf(8, 12, seq(12)...)
	for name, spoil := range map[string]func(t *testing.T, s *Store, file string){
		"lost": func(t *testing.T, _ *Store, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
		"cut and filled with zeros": func(t *testing.T, _ *Store, file string) {
			info, err := os.Stat(file)
			if err == nil {
				err = errors.Join(os.Truncate(file, info.Size()-3), os.Truncate(file, info.Size()+64))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"lies": func(t *testing.T, s *Store, _ string) {
			found, err := s.snapshots(t.Context())
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			w, err := s.openWritten(disk.disk().Digest, found[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			defer w.close()
			if _, err := w.add(11); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := here(t, awstest.Options{})
			if _, err := c.store(with(&awstest.Killer{At: 8}), func(_ *awsapi.Options, o *Options) { o.Parallel = 1 }).Upload(t.Context(), disk.disk()); err == nil {
				t.Fatal("a killed process ended well")
			}
			s := c.store()
			spoil(t, s, s.writtenFile(disk.disk().Digest))
			n, err := s.Upload(t.Context(), disk.disk())
			if err != nil {
				t.Fatal(err)
			}
			readBack(t, s, n.ID, disk)
			if all, err := s.snapshots(t.Context()); err != nil || len(all) != 1 {
				t.Errorf("%d snapshots are left: %v", len(all), err)
			}
		})
	}
}

func TestAbandonedSnapshotIsBegunAnew(t *testing.T) {
	c := here(t, awstest.Options{})
	disk := diskOf(9, 4, 0, 1)
	if _, err := c.store(with(&awstest.Killer{At: 3})).Upload(t.Context(), disk.disk()); err == nil {
		t.Fatal("a killed process ended well")
	}
	c.server.Expire()
	s := c.store()
	n, err := s.Upload(t.Context(), disk.disk())
	if err != nil {
		t.Fatal(err)
	}
	readBack(t, s, n.ID, disk)
	if all, err := s.snapshots(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%+v are left: %v", all, err)
	}
}

// TestBareChildren: where a child has nothing of its parent, all blocks are sent.
func TestBareChildren(t *testing.T) {
	c := here(t, awstest.Options{BareChildren: true})
	s := c.store()
	before, after := diskOf(16, 8, 0, 1, 2), diskOf(16, 8, 0, 1, 2, 3)
	if _, err := s.Upload(t.Context(), before.disk()); err != nil {
		t.Fatal(err)
	}
	d := after.disk()
	d.Previous = before.disk().Digest
	n, err := s.Upload(t.Context(), d)
	if err != nil || n.Parent != none {
		t.Fatalf("%+v %v", n, err)
	}
	readBack(t, s, n.ID, after)
	if all, err := s.snapshots(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("%d snapshots are left: %v", len(all), err)
	}
}

func TestThrottledUpload(t *testing.T) {
	c := here(t, awstest.Options{})
	c.server.Intercept(func(call awstest.Call) *awstest.Fault {
		switch {
		case call.N != 2 && call.N != 30:
			return nil
		case call.Service == "ebs":
			return &awstest.Fault{Status: http.StatusBadRequest, Code: "RequestThrottledException", Message: "slow down"}
		}
		return &awstest.Fault{Status: http.StatusServiceUnavailable, Code: "RequestLimitExceeded", Message: "Request limit exceeded."}
	})
	disk := diskOf(10, 40, seq(40)...)
	i, err := c.store().Publish(t.Context(), disk.disk(), Form{Arch: "arm64"})
	if err != nil {
		t.Fatal(err)
	}
	readBack(t, c.store(), i.Snapshot, disk)
}

func TestErrorsSayTheNextStep(t *testing.T) {
	tests := []struct {
		name, at string
		fault    awstest.Fault
		want     fault.Code
		hint     string
	}{
		{"no permission to write blocks", "PutSnapshotBlock", awstest.Fault{Status: 403, Code: "AccessDeniedException"}, fault.Denied, `"Action": "ebs:PutSnapshotBlock"`},
		{"no permission to register", "RegisterImage", awstest.Fault{Status: 403, Code: "UnauthorizedOperation"}, fault.Denied, `"Action": "ec2:RegisterImage"`},
		{"expired credentials", "StartSnapshot", awstest.Fault{Status: 403, Code: "ExpiredTokenException"}, fault.Denied, "expired"},
		{"a quota", "StartSnapshot", awstest.Fault{Status: 402, Code: "ServiceQuotaExceededException"}, fault.NoSpace, "quota"},
		{"throttled for good", "DescribeSnapshots", awstest.Fault{Status: 503, Code: "RequestLimitExceeded"}, fault.Unavailable, "later"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := here(t, awstest.Options{})
			c.server.Intercept(func(call awstest.Call) *awstest.Fault {
				if call.Action == tt.at {
					return &tt.fault
				}
				return nil
			})
			_, err := c.store(func(a *awsapi.Options, _ *Options) { a.Tries = 2 }).Publish(t.Context(), diskOf(11, 2, 1).disk(), Form{Arch: "amd64"})
			var f *fault.Error
			if fault.CodeOf(err) != tt.want || !errors.As(err, &f) || !strings.Contains(f.Hint, tt.hint) {
				t.Errorf("%v: class %s, %+v", err, fault.CodeOf(err), f)
			}
		})
	}
}

// TestManyRequestsInFlight holds every block back until 64 are on their way.
func TestManyRequestsInFlight(t *testing.T) {
	c := here(t, awstest.Options{})
	gate := &gate{want: 64, open: make(chan struct{})}
	disk := diskOf(12, 80, seq(80)...)
	if _, err := c.store(with(gate)).Upload(t.Context(), disk.disk()); err != nil {
		t.Fatal(err)
	}
}

type gate struct {
	want int
	open chan struct{}
	mu   sync.Mutex
	here int
}

func (g *gate) Do(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut {
		g.mu.Lock()
		if g.here++; g.here == g.want {
			close(g.open)
		}
		g.mu.Unlock()
		select {
		case <-g.open:
		case <-time.After(time.Minute):
			return nil, fmt.Errorf("only %d requests are in flight", g.here)
		}
	}
	return http.DefaultClient.Do(r)
}

func TestEncrypted(t *testing.T) {
	c := here(t, awstest.Options{})
	s := c.store()
	plain := diskOf(13, 4, 1)
	if _, err := s.Upload(t.Context(), plain.disk()); err != nil {
		t.Fatal(err)
	}
	d := plain.disk()
	d.Encrypt = true
	n, err := s.Upload(t.Context(), d)
	if err != nil || !n.Encrypted {
		t.Fatalf("encrypted: %+v %v", n, err)
	}
	next := diskOf(13, 4, 1, 2)
	d = next.disk()
	d.Encrypt, d.Previous = true, plain.disk().Digest
	child, err := s.Upload(t.Context(), d)
	if err != nil || !child.Encrypted || child.Parent != d.Previous {
		t.Fatalf("a child of an encrypted one: %+v %v", child, err)
	}
	readBack(t, s, child.ID, next)
}

func TestBadDisks(t *testing.T) {
	c := here(t, awstest.Options{})
	s := c.store()
	whole := diskOf(14, 4, 1)
	short := whole.disk()
	short.Size += BlockSize
	short.Digest = "sha256:" + hex.EncodeToString(make([]byte, 32))
	for name, d := range map[string]Disk{"no digest": {Content: whole, Size: 1}, "a digest that is a path": {Content: whole, Size: 1, Digest: "sha256:../x"},
		"no size": {Content: whole, Digest: short.Digest}, "a disk that ends early": short} {
		if _, err := s.Upload(t.Context(), d); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	changed := whole.disk()
	if _, err := s.sumsFor(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	whole.fill(15, 1)
	if _, err := s.Upload(t.Context(), changed); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("a disk that changed: %v", err)
	}
	if len(slices.DeleteFunc(c.server.Calls(), func(call awstest.Call) bool { return call.Action != "PutSnapshotBlock" })) != 0 {
		t.Error("blocks of a disk that changed were sent")
	}
}

func seq(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}
