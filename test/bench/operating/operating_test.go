// Package operating measures how fast the built binary changes a split and replaces a dead node.
package operating

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/test/harness"
)

// The limits. A docker node may take as long as the engine needs to start a container beside its own 2 s.
const (
	mostEffective = 10 * time.Millisecond  // from the agent's decision to the router's confirmation
	mostCommand   = 150 * time.Millisecond // release cutover --percent as a whole
	mostSandbox   = time.Second            // from a node's death to its replacement being healthy
	mostDocker    = 2 * time.Second
)

const (
	rounds = 21
	kills  = 9 // fewer than make the agent suspect a crash loop
)

// TestOperating is a measurement and runs only when asked for, alone on the machine:
//
//	RELEASE_BENCH=1 go test -v -run TestOperating ./test/bench/operating
func TestOperating(t *testing.T) {
	if os.Getenv("RELEASE_BENCH") == "" {
		t.Skip("a measurement: set RELEASE_BENCH=1")
	}
	suite := harness.NewSuite()
	defer suite.Close()
	for driver, most := range map[string]time.Duration{"sandbox": mostSandbox, "docker": mostDocker} {
		t.Run(driver, func(t *testing.T) {
			in := suite.New(t, driver)
			in.Bake("v1")
			in.Operate("up")
			in.Operate("launch", in.Bake("v2"))
			command, effective := weightChanges(in)
			t.Logf("weight change: effective %s, whole command %s (medians of %d)", effective, command, rounds)
			if effective > mostEffective || command > mostCommand {
				t.Errorf("want at most %s and %s", mostEffective, mostCommand)
			}
			replaced := replacements(in)
			t.Logf("dead node replaced: %s (median of %d)", replaced, kills)
			if replaced > most {
				t.Errorf("want at most %s", most)
			}
		})
	}
}

// weightChanges moves the split back and forth.
func weightChanges(in *harness.Installation) (command, effective time.Duration) {
	var commands, effects []time.Duration
	for i := range rounds {
		out := in.Must("cutover", "--percent", fmt.Sprint(10+10*(i%2)))
		commands = append(commands, out.Took)
	}
	events := journal(in)
	for i, e := range events {
		if e.Type == "cutover.step" {
			effects = append(effects, events[i+1].At.Sub(e.At))
		}
	}
	return median(commands), median(effects)
}

// replacements kills serving nodes and reads from the journal when the next one was healthy.
func replacements(in *harness.Installation) time.Duration {
	var took []time.Duration
	for range kills {
		victim := in.Status().Fleets[0].Nodes[0]
		seen := in.Status().EventSeq
		killed := time.Now()
		_ = syscall.Kill(victim.PID, syscall.SIGKILL)
		in.Until("a replacement", 20*time.Second, func() bool {
			for _, e := range journal(in) {
				if e.Seq > seen && e.Type == "node.healthy" {
					took = append(took, e.At.Sub(killed))
					return true
				}
			}
			return false
		})
		in.Until("the fleet to be whole", 20*time.Second, func() bool { return len(in.Status().Fleets[0].Nodes) == 3 })
	}
	return median(took)
}

func journal(in *harness.Installation) []api.Event {
	var events []api.Event
	for line := range strings.Lines(in.Must("events", "--json").Stdout) {
		var e api.Event
		if json.Unmarshal([]byte(line), &e) == nil && e.Seq > 0 {
			events = append(events, e)
		}
	}
	return events
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
