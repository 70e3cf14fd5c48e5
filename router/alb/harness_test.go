package alb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto/rand"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/router"
)

const region = awstest.Region

// cloud is an AWS with one load balancer: at the endpoint that AWS_ENDPOINT_URL names, or a server of our own, which forwards
// requests.
type cloud struct {
	t            *testing.T
	server       *awstest.Server // nil at a foreign endpoint
	elb          *elb.Client
	installation string
	name, arn    string

	mu        sync.Mutex
	addresses map[int]string    // where a port is to be served
	listeners map[int]string    // by port
	others    map[string]string // addresses of nodes as the foreign endpoint takes them, and back
}

// anywhere is for tests that hold at any endpoint: those named TestConformance.
func anywhere(t *testing.T, foreign bool) *cloud {
	if !foreign {
		return here(t, awstest.Options{Takes: time.Millisecond})
	}
	return begin(t, &cloud{t: t})
}

// here is for tests that want faults or traffic.
func here(t *testing.T, o awstest.Options) *cloud {
	c := &cloud{t: t, addresses: map[int]string{}}
	o.Listen = func(port int) string {
		c.mu.Lock()
		defer c.mu.Unlock()
		return cmp.Or(c.addresses[port], net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	if o.IdleDrain == 0 {
		o.IdleDrain = time.Microsecond
	}
	c.server = awstest.Start(t, o)
	c.server.Use(t)
	return begin(t, c)
}

func begin(t *testing.T, c *cloud) *cloud {
	id := strings.ToLower(rand.Text()[:8])
	c.installation, c.name, c.listeners, c.others = "test-"+id, "release-test-"+id, map[int]string{}, map[string]string{}
	cfg := c.config()
	c.elb = elb.NewFromConfig(cfg)
	c.arn = awstest.Balancer(t, cfg, c.name)
	t.Cleanup(c.clean)
	return c
}

func (c *cloud) config(change ...func(*awsapi.Options)) aws.Config {
	c.t.Helper()
	o := awsapi.Options{Backoff: 5 * time.Millisecond}
	for _, f := range change {
		f(&o)
	}
	cfg, err := awsapi.Load(context.WithoutCancel(c.t.Context()), o)
	if err != nil {
		c.t.Fatal(err)
	}
	return cfg
}

// backend is one as a new process would have it.
func (c *cloud) backend(change ...func(*Options, *awsapi.Options)) *Backend {
	c.t.Helper()
	o := Options{Installation: c.installation, Balancer: c.name, Poll: time.Millisecond, Look: time.Millisecond, Drain: time.Hour, HealthyWithin: time.Minute, Wait: time.Minute}
	if c.server == nil {
		o.Poll, o.HealthyWithin, o.Drain = 200*time.Millisecond, -1, time.Second // its targets are nobody
	}
	cfg := c.config(func(a *awsapi.Options) {
		for _, f := range change {
			f(&o, a)
		}
	})
	b, err := New(cfg, o)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// listen makes a listener for an address, as whoever set the balancer up did.
func (c *cloud) listen(listen string) {
	_, text, err := net.SplitHostPort(listen)
	port, perr := strconv.Atoi(text)
	if err != nil || perr != nil || port == 0 {
		return // the backend says so
	}
	c.mu.Lock()
	have := c.listeners[port]
	if c.addresses != nil {
		c.addresses[port] = listen
	}
	c.mu.Unlock()
	if have != "" {
		return
	}
	out, err := c.elb.CreateListener(context.Background(), &elb.CreateListenerInput{LoadBalancerArn: &c.arn, Port: aws.Int32(int32(port)), Protocol: types.ProtocolEnumHttp,
		DefaultActions: awstest.NotFound()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners[port] = *out.Listeners[0].ListenerArn
}

// provided is a backend whose balancer gets each listener before a table asks for it, and, at a foreign endpoint, nodes that are in
// the default network instead of on loopback.
type provided struct {
	*Backend
	c *cloud
}

func (p provided) Apply(ctx context.Context, t router.Table) error {
	if ctx.Err() == nil {
		for _, r := range t.Routes {
			p.c.listen(r.Listen)
		}
	}
	return p.Backend.Apply(ctx, p.c.foreign(t))
}

func (p provided) Applied(ctx context.Context) (router.Table, error) {
	t, err := p.Backend.Applied(ctx)
	return p.c.foreign(t), err
}

// foreign replaces the addresses of nodes, or brings them back.
func (c *cloud) foreign(t router.Table) router.Table {
	if c.server != nil {
		return t
	}
	t = t.Canonical()
	for _, r := range t.Routes {
		for _, f := range r.Fleets {
			for i := range f.Nodes {
				address := f.Nodes[i].Address
				if c.others[address] == "" && strings.HasPrefix(address, "127.") {
					other := fmt.Sprintf("172.31.%d.%d:%s", 1+len(c.others)/200, 10+len(c.others)%200, address[strings.LastIndexByte(address, ':')+1:])
					c.others[address], c.others[other] = other, address
				}
				f.Nodes[i].Address = cmp.Or(c.others[address], address)
			}
		}
	}
	return t
}

// clean applies an empty table, waits until nothing is left of others, and deletes the balancer and the pages.
func (c *cloud) clean() {
	ctx := context.WithoutCancel(c.t.Context())
	b := c.backend()
	before, err := b.Applied(ctx)
	if errors.Is(err, router.ErrNoTable) {
		before.Version.Epoch = 1 << 40
	} else if err != nil {
		c.t.Errorf("read the last table: %v", err)
		return
	}
	before.Version.Epoch++ // what was read may be behind what is written
	if err := b.Apply(ctx, router.Table{Schema: router.Schema, Version: before.Version}); err != nil {
		c.t.Errorf("apply an empty table: %v", err)
	}
	c.server.Eventually(c.t, "nothing is left", func() error {
		_, err := b.Observe(ctx)
		v, lerr := b.look(ctx)
		if err = errors.Join(err, lerr); err == nil && len(v.groups) > 0 {
			err = fmt.Errorf("groups %v", slices.Collect(maps.Keys(v.groups)))
		}
		for i := 0; err == nil && i < len(v.rules); i++ {
			if v.rules[i].ours {
				err = fmt.Errorf("rule %+v", v.rules[i])
			}
		}
		return err
	})
	v, err := b.look(ctx)
	if err == nil {
		for _, g := range v.pages {
			_, gerr := c.elb.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: &g.arn})
			err = errors.Join(err, gerr)
		}
	}
	_, berr := c.elb.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: &c.arn})
	if err = errors.Join(err, berr); err != nil {
		c.t.Error(err)
	}
}
