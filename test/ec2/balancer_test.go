package ec2

import (
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/test/load"
)

// balanced is a cloud whose agent routes by a load balancer.
type balanced struct {
	*cloud
	elb      *elb.Client
	balancer string // ARN
}

func balance(t *testing.T, c *cloud) *balanced {
	t.Helper()
	settings := filepath.Join(c.Dir, "c", "release", "agent.yaml")
	if err := os.MkdirAll(filepath.Dir(settings), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(settings, []byte("router: {backend: alb, alb: {name: front, drain: 1s, check_path: /healthz}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Env = append(c.Env, "XDG_CONFIG_HOME="+filepath.Join(c.Dir, "c"))
	cfg, err := awsapi.Load(t.Context(), awsapi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &balanced{c, elb.NewFromConfig(cfg), awstest.Balancer(t, cfg, "front", int(netip.MustParseAddrPort(c.Listen).Port()))}
}

// death is that of a node that served.
type death struct {
	address   string
	at, until time.Time // until it was replaced
}

// lostOnly holds that users lost no request but those that the balancer sent to a node that had died, or that the node had then, until it was
// replaced: this balancer has no health checks that would find it earlier.
func (b *balanced) lostOnly(report load.Report, dead death) {
	b.t.Helper()
	lost := b.server.Undelivered()
	for _, u := range lost {
		if u.Address != dead.address || u.Failed.Before(dead.at) || u.Began.After(dead.until) {
			b.t.Errorf("a request is lost at %s, from %s to %s; %s died at %s", u.Address, u.Began, u.Failed, dead.address, dead.at)
		}
	}
	if report.Failed != len(lost) || report.ByStatus[http.StatusBadGateway] != len(lost) {
		b.t.Errorf("users lost %d of %d requests, and the balancer did not deliver %d; by status %v, the first: %+v", report.Failed, report.Sent, len(lost), report.ByStatus,
			report.Failures[:min(len(report.Failures), 10)])
	}
	b.t.Logf("%d requests were lost at the node that died", len(lost))
}

// cleared holds that the balancer has nothing of a fleet any more: what keeps the table stays.
func (b *balanced) cleared() {
	b.t.Helper()
	b.Until("the balancer to have nothing of a fleet", patience, func() bool {
		out := b.Repeat(patience, "router", "status")
		return strings.Contains(out.Stdout, `"rules":0`) && !strings.Contains(out.Stdout, `"fleet":`)
	})
	groups, err := b.elb.DescribeTargetGroups(b.t.Context(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, g := range groups.TargetGroups {
		if !strings.Contains(*g.TargetGroupName, "-table-") {
			b.t.Errorf("target group %s is left", *g.TargetGroupName)
		}
	}
}
