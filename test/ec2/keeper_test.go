package ec2

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/test/harness"
)

// keeper starts the agent again whenever it ends. AWS kills it at the first call of each kind.
type keeper struct {
	agent *harness.Keeper

	mu   sync.Mutex
	seen map[string]bool
	dead []string // kinds of calls
}

// keep runs an agent from now on.
func keep(t *testing.T, in *cloud) *keeper {
	t.Helper()
	k := &keeper{agent: in.Keep(), seen: map[string]bool{}}
	t.Cleanup(func() { in.server.Intercept(nil) })
	in.Until("an agent to answer", time.Minute, func() bool { return in.Agent().Running })
	return k
}

// kills kills the agent at the first call of each kind, every other time before it is carried out. A call that the agent did not live to hear the
// answer of is not told from one that it did not make.
func (k *keeper) kills(call awstest.Call) *awstest.Fault {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen[call.Name()] || !k.agent.Kill() {
		return nil
	}
	k.seen[call.Name()] = true
	k.dead = append(k.dead, call.Name())
	if len(k.dead)%2 == 0 {
		return nil
	}
	return &awstest.Fault{Status: 503, Code: "InternalFailure", Message: "the caller is dead"}
}

// died are the kinds of calls that the agent was killed at.
func (k *keeper) died() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.dead)
}

// operate runs a verb that has to end so.
func (c *cloud) operate(code int, args ...string) {
	c.t.Helper()
	began := time.Now()
	out := c.Repeat(patience, append([]string{"--timeout", "4m"}, args...)...)
	c.t.Logf("release %s: exit code %d after %s", strings.Join(args, " "), out.Code, time.Since(began).Round(time.Millisecond))
	if out.Code != code {
		c.t.Errorf("release %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), out.Code, code, out.Stdout, out.Stderr)
	}
}

func (c *cloud) status() api.StatusResult { return c.PatientStatus(patience) }

// serves holds that a release has all the traffic.
func (c *cloud) serves(release string) {
	c.t.Helper()
	for _, r := range c.status().Routes {
		for _, w := range r.Weights {
			if w.Percent > 0 && (w.Release != release || w.Percent != 100) {
				c.t.Errorf("%s has %d %%, want %s with all", w.Release, w.Percent, release)
			}
		}
	}
}
