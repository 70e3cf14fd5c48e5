package ec2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/fleet/ec2"
	"github.com/bootandshoot/release/fleet/ec2/ami"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/alb"
)

// TestKilledAtEveryCall plays a launch, a cutover and the end of an app with the driver and the backend alone, and has the process die at
// each call to AWS in turn: it was carried out, and nobody read the answer, which is also before the next one. A process that knows
// nothing goes on with the step. Each node is one instance, and nothing is left.
func TestKilledAtEveryCall(t *testing.T) {
	for name, value := range awstest.Variables("") {
		t.Setenv(name, value)
	}
	var next, calls atomic.Int64
	var over atomic.Bool
	for range workers {
		t.Run("worker", func(t *testing.T) {
			t.Parallel()
			for !over.Load() && !t.Failed() {
				at, died := int(next.Add(every)), false
				t.Run(fmt.Sprint("life ", at), func(t *testing.T) { died = (&life{t: t, at: at}).live() }) // its servers end with it
				if !died {
					over.Store(true)
					return
				}
				calls.Add(1)
			}
		})
	}
	t.Cleanup(func() {
		if n := calls.Load(); n < 80/every && !t.Failed() {
			t.Errorf("only %d calls were killed", n)
		}
	})
}

// workers are how many lives are played at a time.
const workers = 4

// life is one app's, whose first process dies at a call.
type life struct {
	t      *testing.T
	at     int
	server *awstest.Server
	killer *awstest.Killer
	dir    string
	driver *ec2.Driver
	images *ami.Store
	router *alb.Backend
}

// process is one that begins: it knows what AWS has, and which disks were uploaded from here.
func (l *life) process(o awsapi.Options) {
	o.Endpoint, o.Backoff = l.server.URL, time.Millisecond
	cfg, err := awsapi.Load(l.t.Context(), o)
	if err == nil {
		l.images, err = ami.New(cfg, ami.Options{Installation: "life", Dir: l.dir, Poll: time.Millisecond})
	}
	if err == nil {
		l.driver, err = ec2.New(cfg, ec2.Options{Installation: "life", Images: l.images, Disk: disk, Place: fleet.Placement{Types: []string{"t3.micro"}}, Poll: time.Millisecond})
	}
	if err == nil {
		l.router, err = alb.New(cfg, alb.Options{Installation: "life", Balancer: "front", Drain: time.Second, Wait: time.Minute, Poll: time.Millisecond, Look: time.Millisecond})
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// disk is the machine of every image.
func disk(_ context.Context, image string) (ec2.Disk, error) {
	content := bytes.Repeat([]byte(image), ami.BlockSize/len(image))
	sum := sha256.Sum256(content)
	return ec2.Disk{Disk: ami.Disk{Content: bytes.NewReader(content), Size: int64(len(content)), Digest: "sha256:" + hex.EncodeToString(sum[:])}, Arch: "amd64"}, nil
}

// live plays it; false: there are fewer calls.
func (l *life) live() (died bool) {
	t := l.t
	l.dir = t.TempDir()
	l.killer = &awstest.Killer{At: l.at, After: true}
	l.server = awstest.Start(t, awstest.Options{Takes: time.Millisecond, IdleDrain: time.Microsecond})
	cfg, err := awsapi.Load(t.Context(), awsapi.Options{Endpoint: l.server.URL})
	if err != nil {
		t.Fatal(err)
	}
	awstest.Balancer(t, cfg, "front", 80)
	l.process(awsapi.Options{Client: l.killer, Tries: 1})
	one, two := fleetOf(1), fleetOf(2)
	l.launch(one)
	l.route(1, share{one, 100})
	l.launch(two)
	l.route(2, share{one, 100}, share{two, 0})
	l.route(3, share{one, 90}, share{two, 10})
	l.route(4, share{two, 100})
	l.step("destroy r1", func() error { return l.driver.Destroy(t.Context(), one.Fleet) })
	l.route(5)
	l.step("destroy r2", func() error { return l.driver.Destroy(t.Context(), two.Fleet) })
	before := l.killer.Dead()
	l.step("collect", func() error {
		all, err := l.images.Images(t.Context())
		for _, i := range all {
			err = errors.Join(err, l.images.Remove(t.Context(), i))
		}
		orphans, oerr := l.images.Orphans(t.Context())
		err = errors.Join(err, oerr)
		if died := !before && l.killer.Dead(); err == nil && len(orphans) > 0 && !died {
			return fmt.Errorf("snapshots without an image: %+v", orphans)
		}
		for _, n := range orphans { // whose images were removed by the process that died: release images gc finds them so too
			err = errors.Join(err, l.images.RemoveSnapshot(t.Context(), n))
		}
		return err
	})
	l.left(cfg)
	return l.killer.Dead()
}

// step does something; when the process dies at it, the next one goes on with it.
func (l *life) step(what string, do func() error) {
	l.t.Helper()
	err := do()
	if err != nil && l.killer.Dead() {
		l.process(awsapi.Options{})
		err = do()
	}
	if err != nil {
		l.t.Fatalf("killed at call %d, %s: %v", l.at, what, err)
	}
}

func fleetOf(n int) fleet.Spec {
	spec := fleet.Spec{Fleet: fleet.FleetID{App: "shop", Env: "test", Role: "web", Release: fmt.Sprintf("r%d", n), Incarnation: 1}, Installation: "life", Kind: fleet.Serve,
		Image: "sha256:" + strings.Repeat(fmt.Sprint(n), 64), Port: 8080}
	for i := range 2 {
		spec.Nodes = append(spec.Nodes, fleet.NodeSpec{Name: fmt.Sprintf("r%d-n%d", n, i), Slot: 10*n + i})
	}
	return spec
}

func (l *life) launch(spec fleet.Spec) {
	l.step("prepare "+spec.Fleet.Release, func() error { return l.driver.Prepare(l.t.Context(), spec) })
	l.step("boot "+spec.Fleet.Release, func() error { _, err := l.driver.Ensure(l.t.Context(), spec); return err })
	if living := l.server.Living(awstest.Region); len(living) != 2 && len(living) != 4 {
		l.t.Fatalf("killed at call %d: instances %v after the launch of %s", l.at, living, spec.Fleet.Release)
	}
}

// share is a fleet's part of the route.
type share struct {
	spec   fleet.Spec
	weight int
}

// route has a table in effect, read back first as by an agent that begins, and observed.
func (l *life) route(seq uint64, shares ...share) {
	table := router.Table{Schema: router.Schema, Version: router.Version{Epoch: 1, Seq: seq}}
	r := router.Route{Name: "shop/test/web", Listen: ":80"}
	for _, s := range shares {
		f := router.Fleet{ID: s.spec.Fleet.String(), Release: s.spec.Fleet.Release, Weight: s.weight}
		l.step("list "+f.Release, func() error {
			nodes, err := l.driver.Nodes(l.t.Context(), s.spec.Fleet)
			f.Nodes = nil
			for _, n := range nodes {
				f.Nodes = append(f.Nodes, router.Node{Name: n.ID.Node, Address: n.Address})
			}
			return err
		})
		r.Fleets = append(r.Fleets, f)
	}
	if len(shares) > 0 {
		table.Routes = []router.Route{r}
	}
	l.step("apply table "+table.Version.String(), func() error {
		if _, err := l.router.Applied(l.t.Context()); err != nil && !errors.Is(err, router.ErrNoTable) {
			return err
		}
		return l.router.Apply(l.t.Context(), table)
	})
	l.step("observe table "+table.Version.String(), func() error {
		o, err := l.router.Observe(l.t.Context())
		if err == nil && o.Edges[0].Confirmed != table.Version {
			err = fmt.Errorf("it is %s", o.Edges[0].Confirmed)
		}
		return err
	})
}

// left holds that nothing is, but the table.
func (l *life) left(cfg aws.Config) {
	t, c := l.t, elb.NewFromConfig(cfg)
	var left []string
	for deadline := time.Now().Add(patience); ; {
		left = l.server.Left(awstest.Region)
		l.step("observe the end", func() error { _, err := l.router.Observe(t.Context()); return err })
		groups, err := c.DescribeTargetGroups(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups.TargetGroups {
			if !strings.Contains(*g.TargetGroupName, "-table-") {
				left = append(left, *g.TargetGroupName)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("killed at call %d: %v are left", l.at, left)
		}
		time.Sleep(time.Millisecond)
	}
}
