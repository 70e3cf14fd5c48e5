package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// TestDrained is the whole decision: what is left, how much of each time is over, and whether that is the end.
func TestDrained(t *testing.T) {
	const requestsFor, longFor, within = 30 * time.Second, 10 * time.Minute, 10 * time.Second
	shut := longFor + within + closeSlack
	for _, c := range []struct {
		name    string
		left    left
		after   time.Duration
		closing time.Duration // when closing began; 0: not yet
		asked   time.Duration // when the edges were asked to; 0: with that, unless they are not
		done    bool
		closes  bool // closing begins
	}{
		{name: "empty", done: true},
		{name: "requests", left: left{requests: 1}, after: requestsFor - 1},
		{name: "requests, late", left: left{requests: 1}, after: requestsFor, done: true},
		{name: "long", left: left{long: 1}, after: requestsFor},
		{name: "long, to the end", left: left{long: 1}, after: longFor - 1},
		{name: "long, late", left: left{long: 1}, after: longFor, closes: true},
		{name: "long, closing", left: left{long: 1}, after: shut - 1, closing: longFor},
		{name: "long, closed late", left: left{long: 1}, after: shut, closing: longFor, done: true},
		{name: "requests, being closed", left: left{requests: 1}, after: longFor + 1, closing: longFor},
		{name: "long, all closed", after: longFor + 1, closing: longFor, done: true},
		{name: "both", left: left{requests: 1, long: 1}, after: requestsFor},
		{name: "both, late", left: left{requests: 1, long: 1}, after: longFor, closes: true},
		{name: "unknown", left: left{unknown: true}, after: longFor - 1},
		{name: "unknown, late", left: left{unknown: true}, after: longFor, closes: true},
		{name: "unknown, to the end", left: left{unknown: true}, after: shut, closing: longFor, done: true},
		{name: "no edge was asked to close them", left: left{long: 1, unasked: true}, after: time.Hour, closing: longFor},
		{name: "requests, and no edge was asked", left: left{requests: 1, unasked: true}, after: time.Hour, closing: longFor},
		{name: "asked late", left: left{long: 1}, after: shut + time.Hour - 1, closing: longFor, asked: longFor + time.Hour},
		{name: "asked late, and closed late", left: left{long: 1}, after: shut + time.Hour, closing: longFor, asked: longFor + time.Hour, done: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Unix(1000, 0)
			d := Drain{LongBy: began.Add(longFor)}
			if c.closing > 0 {
				d.ClosingAt = began.Add(c.closing)
				d.AskedAt = began.Add(max(c.asked, c.closing))
			}
			before := d.ClosingAt
			r := &round{s: &State{}, f: Facts{Now: began.Add(c.after)}}
			got := r.drained(&d, c.left, began.Add(requestsFor), within, func(string, string, ...any) {})
			if got != c.done || d.Over != c.done {
				t.Errorf("done %v, recorded %v, want %v", got, d.Over, c.done)
			}
			if began := d.ClosingAt != before; began != c.closes {
				t.Errorf("closing begins: %v, want %v", began, c.closes)
			}
			if c.left.unasked && !d.AskedAt.IsZero() {
				t.Errorf("asked at %v, but no edge was", d.AskedAt)
			}
			if c.done && !r.drained(&d, left{requests: 9, long: 9}, began.Add(time.Hour), within, nil) {
				t.Error("what is over does not begin again")
			}
		})
	}
}

// A record of a version that knew one deadline has it for both.
func TestDrainOfOlderRecord(t *testing.T) {
	by := time.Unix(1000, 0)
	var d Drain
	r := &round{s: &State{}, f: Facts{Now: by}}
	if r.drained(&d, left{long: 1}, by, time.Second, func(string, string, ...any) {}) || d.ClosingAt != by {
		t.Errorf("at its one deadline: %+v", d)
	}
}

func TestHowManyAreLeftIsTold(t *testing.T) {
	began := time.Unix(1000, 0)
	d := Drain{LongBy: began.Add(10 * time.Minute)}
	var told []string
	tell := func(_, format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	for _, c := range []struct {
		after time.Duration
		long  int
		says  string
	}{
		{0, 0, ""}, {1, 100, "100"}, {2, 99, ""}, {3, 60, ""}, {4, 50, "50"}, {5, 80, "80"}, {30, 80, ""}, {65, 79, "79"},
		{66, 74, ""}, {124, 74, ""}, {125, 74, "74"}, {126, 4, "4"}, {127, 0, ""},
	} {
		told = nil
		r := &round{s: &State{}, f: Facts{Now: began.Add(c.after * time.Second)}}
		done := r.drained(&d, left{long: c.long, requests: 1}, began.Add(time.Hour), time.Second, tell)
		text := strings.Join(told, "\n")
		if done || (c.says == "") != (text == "") || !strings.HasPrefix(text, c.says+" ") && c.says != "" {
			t.Errorf("after %ds with %d: %q, want %q", c.after, c.long, text, c.says)
		}
	}
}

// long gives every node of a release so many long connections.
func (r *rig) long(release string, n int) {
	r.t.Helper()
	fl := r.state().fleetOf(release)
	for _, node := range fl.Nodes {
		r.router.SetLong(fl.ID.String(), node.Name, n)
	}
}

// closing are the nodes of which the newest table wants the long connections ended.
func (r *rig) closing() []string {
	r.t.Helper()
	table, err := r.router.Applied(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, c := range table.Closing {
		names = append(names, c.Node)
	}
	return names
}

// wasClosed checks that one table asked to close the long connections of just these nodes.
func wasClosed(r *rig, names ...string) {
	r.t.Helper()
	slices.Sort(names)
	for _, table := range r.router.Tables() {
		var closing []string
		for _, c := range table.Closing {
			closing = append(closing, c.Node)
			if c.Within != 10*time.Second {
				r.t.Errorf("%s is closed within %s", c.Node, c.Within)
			}
		}
		if slices.Equal(closing, names) {
			return
		}
	}
	r.t.Errorf("no table closes %v", names)
}

func (r *rig) events(kind string) []Event {
	r.t.Helper()
	all, err := r.o.Events(context.Background(), shop, 0, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(e Event) bool { return e.Type != kind })
}

func shotAfter(r *rig, release string, began time.Time) time.Duration {
	r.t.Helper()
	r.until(release+" to be shot", func(*State) bool { return len(r.running(release)) == 0 })
	return time.Since(began)
}

func coldAtOnce(c *config.App) { c.Cutover.KeepPrevious = 0 }

func TestLongConnectionsStayToTheirDeadline(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, coldAtOnce)
		r.long("r1", 20)
		names := r.running("r1")
		time.Sleep(time.Second)
		op := r.up(2, 2, coldAtOnce)
		began := op.Ended
		time.Sleep(10*time.Minute - 5*time.Second)
		st, err := r.o.Status(t.Context(), shop)
		if err != nil {
			t.Fatal(err)
		}
		old := st.State.Fleets[0]
		if old.State != FleetShooting || st.Long[old.ID.String()] != 40 || len(r.closing()) != 0 {
			t.Fatalf("before the deadline: %s with %d long connections, closing %v", old.State, st.Long[old.ID.String()], r.closing())
		}
		if d := old.Deadline(40).Sub(began); d < 10*time.Minute-time.Second || d > 10*time.Minute+time.Second {
			t.Errorf("the deadline is %s after the cutover, want 10m", d)
		}
		if took := shotAfter(r, "r1", began); took < 10*time.Minute || took > 10*time.Minute+5*time.Second {
			t.Errorf("shot %s after the cutover, want 10m: all were closed at once", took)
		}
		wasClosed(r, names...)
		r.until("the fleet to be forgotten", func(s *State) bool { return len(s.Fleets) == 1 })
		time.Sleep(time.Second)
		if c := r.closing(); len(c) != 0 {
			t.Errorf("the table still closes %v", c)
		}
		charged(r, op, 40)
	})
}

// charged checks what an operation cost when all is over, in its record, with its release and in the journal.
func charged(r *rig, op Operation, cut uint64) {
	r.t.Helper()
	got, err := r.o.Operation(context.Background(), shop, op.ID)
	if err != nil || got.Ledger.Cut != cut {
		r.t.Errorf("%s cost %+v (%v), want %d cut", op.ID, got.Ledger, err, cut)
	}
	history, err := r.o.History(context.Background(), shop)
	if err != nil || !slices.ContainsFunc(history, func(o Operation) bool { return o.ID == op.ID && o.Ledger.Cut == cut }) {
		r.t.Errorf("the history is %+v, %v", history, err)
	}
	if l := r.state().release(op.Release).Ledger; l.Cut != cut {
		r.t.Errorf("%s cost %+v, want %d cut", op.Release, l, cut)
	}
	shot := r.events("fleet.shot")
	if len(shot) != 1 || shot[0].Ledger == nil || shot[0].Ledger.Cut != cut {
		r.t.Errorf("told is %+v", shot)
	}
	left := r.events("fleet.connections")
	if len(left) < 9 || left[0].Long != int(cut) {
		r.t.Errorf("how many are left was told %d times: %+v", len(left), left)
	}
	if closing := r.events("fleet.closing"); len(closing) != 1 || closing[0].Long != int(cut) {
		r.t.Errorf("told of closing: %+v", closing)
	}
}

func TestEdgesThatDoNotClose(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.router.Deafen(true)
		r.up(1, 1, coldAtOnce)
		r.long("r1", 3)
		time.Sleep(time.Second)
		began := r.up(2, 1, coldAtOnce).Ended
		want := 10*time.Minute + 10*time.Second + closeSlack
		if took := shotAfter(r, "r1", began); took < want || took > want+2*time.Second {
			t.Errorf("shot after %s, want %s", took, want)
		}
		if e := r.events("fleet.drained"); len(e) != 1 || e[0].Long != 3 {
			t.Errorf("told is %+v", e)
		}
	})
}

// A router that takes no table closes nothing: all stays, it is said, and nothing is written each second. The time for closing
// counts from when it has the table.
func TestRouterThatTakesNoTableToClose(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.router.Deafen(true)
		r.up(1, 1, coldAtOnce)
		r.long("r1", 3)
		time.Sleep(time.Second)
		r.up(2, 1, coldAtOnce)
		time.Sleep(9 * time.Minute)
		r.router.FailApply(errors.New("the router is away"))
		time.Sleep(2 * time.Minute)
		before := r.written()
		time.Sleep(10 * time.Minute)
		if n := r.written() - before; n > 30 { // what is left is told each minute
			t.Errorf("%d states were written in 10 minutes", n)
		}
		if told := messages(r.events("fleet.connections")); strings.Contains(told, "being closed") || strings.Count(told, "have not been told to close yet") < 9 {
			t.Errorf("told is\n%s", told)
		}
		began := time.Now()
		r.router.FailApply(nil)
		want := 10*time.Second + closeSlack
		if took := shotAfter(r, "r1", began); took < want || took > want+time.Minute {
			t.Errorf("shot %s after the router took tables again, want %s and the time to its next try", took, want)
		}
	})
}

// written is how many states of the app were written so far.
func (r *rig) written() (n uint64) {
	r.t.Helper()
	if err := r.o.call(r.t.Context(), func() { n = r.o.apps[shop].written }); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// While no table is taken, the time of what should leave the present one stands still, and that is written once, not each second. It
// goes on when the router takes tables again, also with another agent.
func TestRouterThatTakesNoTableCostsNoWrites(t *testing.T) {
	const requestsFor = 30 * time.Second
	for name, leaves := range map[string]func(r *rig) (fl *Fleet, node string){
		"a node": func(r *rig) (*Fleet, string) {
			node := r.running("r1")[0]
			r.submit(Request{Kind: KindReplace, Nodes: []string{node}})
			return r.state().fleetOf("r1"), node
		},
		"a node in quarantine": func(r *rig) (*Fleet, string) {
			node := r.running("r1")[0]
			r.submit(Request{Kind: KindQuarantine, Nodes: []string{node}, For: time.Minute})
			return r.state().fleetOf("r1"), node
		},
		"a fleet": func(r *rig) (*Fleet, string) {
			fl := r.state().fleetOf("r2")
			r.submit(Request{Kind: KindLaunch, Image: image(3), Config: shopConfig(2)})
			return fl, fl.Nodes[0].Name
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inRig(t, func(t *testing.T, r *rig) {
				r.up(1, 2)
				r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(2)})
				r.router.FailApply(router.ErrUnavailable)
				fl, node := leaves(r)
				r.router.SetInFlight(fl.ID.String(), node, 3)
				time.Sleep(2 * time.Minute) // longer than the whole time of its requests
				before := r.written()
				time.Sleep(10 * time.Minute)
				if n := r.written() - before; n > 2 {
					t.Errorf("%d states were written in 10 minutes", n)
				}
				r.stop()
				r.driver = r.driver.Reopen("")
				r.start()
				time.Sleep(10 * time.Second)
				if !slices.Contains(r.running(""), node) {
					t.Fatal("it is shot, and the table has it")
				}
				r.router.FailApply(nil)
				began := time.Now()
				r.until("its end", func(*State) bool { return !slices.Contains(r.running(""), node) })
				if took := time.Since(began); took < requestsFor-2*time.Second || name != "a node in quarantine" && took > requestsFor+5*time.Second {
					t.Errorf("it is shot %s after the router took tables again, want %s", took, requestsFor)
				}
			})
		})
	}
}

func TestEmptyFleetIsShotEarly(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, coldAtOnce)
		r.long("r1", 3)
		time.Sleep(time.Second)
		began := r.up(2, 1, coldAtOnce).Ended
		fl := r.state().Fleets[0]
		time.Sleep(time.Minute)
		r.router.SetLong(fl.ID.String(), fl.Nodes[0].Name, 0)
		if took := shotAfter(r, "r1", began); took > time.Minute+2*time.Second {
			t.Errorf("shot after %s, its last connection ended after 1m", took)
		}
		if e := r.events("fleet.drained"); len(e) != 1 || e[0].Long != 0 {
			t.Errorf("told is %+v", e)
		}
	})
}

// A warm fleet is there anyway, so its connections may stay on it; their time does not begin anew when it is shot.
func TestWarmFleetKeepsLongConnections(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.long("r1", 3)
		time.Sleep(time.Second)
		began := r.up(2, 1).Ended
		time.Sleep(14 * time.Minute)
		if fl := r.state().fleetOf("r1"); fl.State != FleetWarm || len(r.closing()) != 0 {
			t.Fatalf("after 14m it is %s, closing %v", fl.State, r.closing())
		}
		if took := shotAfter(r, "r1", began); took < 15*time.Minute || took > 15*time.Minute+5*time.Second {
			t.Errorf("shot after %s, want 15m", took)
		}
	})
}

func TestRollbackToFleetWithLongConnections(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.long("r1", 3)
		time.Sleep(time.Second)
		r.up(2, 1)
		time.Sleep(12 * time.Minute)
		r.done(Request{Kind: KindRollback})
		fl := r.state().fleetOf("r1")
		if fl.Drain != (Drain{}) || !fl.DrainBy.IsZero() || fl.Retired != nil {
			t.Errorf("the fleet that serves again is still drained: %+v", fl)
		}
		time.Sleep(20 * time.Minute)
		if n := len(r.running("r1")); n != 1 {
			t.Errorf("%d nodes of the serving release run", n)
		}
	})
}

func TestNodeWithLongConnectionsIsReplaced(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2)
		victim := r.running("r1")[0]
		fl := r.state().fleetOf("r1")
		r.router.SetLong(fl.ID.String(), victim, 2)
		time.Sleep(time.Second)
		op := r.submit(Request{Kind: KindReplace, Nodes: []string{victim}})
		r.until("a word on what is waited for", func(s *State) bool {
			return len(s.Operations) == 1 && strings.Contains(s.Operations[0].Waits, "2 long connections")
		})
		op = r.wait(op)
		if took := op.Ended.Sub(op.At); took < 10*time.Minute || took > 10*time.Minute+10*time.Second {
			t.Errorf("replaced after %s, want 10m", took)
		}
		wasClosed(r, victim)
		if op.Ledger.Cut != 2 || op.Ledger.Fleets[fl.ID.String()].Cut != 2 {
			t.Errorf("the replacement cost %+v", op.Ledger)
		}
		if e := r.events("node.closing"); len(e) != 1 || e[0].Node != victim {
			t.Errorf("told is %+v", e)
		}
	})
}

// Who destroys an app does not wait for its WebSockets; they end in order all the same.
func TestDestroyClosesLongConnectionsAtOnce(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, coldAtOnce)
		r.long("r1", 3)
		time.Sleep(time.Second)
		r.up(2, 1, coldAtOnce)
		r.long("r2", 4)
		time.Sleep(time.Second)
		op := r.done(Request{Kind: KindDestroy})
		if took := op.Ended.Sub(op.At); took > 5*time.Second {
			t.Errorf("destroyed after %s", took)
		}
		if op.Ledger.Cut != 7 {
			t.Errorf("it cost %+v, want 7 cut", op.Ledger)
		}
	})
}

// A router that takes no table that closes anything must not keep an app from its other changes for ever.
func TestAgentDiesWhileConnectionsAreClosed(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.router.Deafen(true)
		r.up(1, 1, coldAtOnce)
		r.long("r1", 3)
		time.Sleep(time.Second)
		op := r.up(2, 1, coldAtOnce)
		r.until("closing", func(*State) bool { return len(r.closing()) == 1 })
		tables := len(r.router.Tables())
		r.stop()
		r.driver = r.driver.Reopen("")
		r.start()
		time.Sleep(2 * time.Second)
		if after := r.router.Tables(); len(after) != tables+1 || !reflect.DeepEqual(after[tables].Routes, after[tables-1].Routes) {
			t.Errorf("the next agent applied %d tables, want the same once, as its own, since something is to be shot", len(after)-tables)
		}
		want := 10*time.Minute + 10*time.Second + closeSlack
		if took := shotAfter(r, "r1", op.Ended); took < want || took > want+3*time.Second {
			t.Errorf("shot after %s, want %s", took, want)
		}
	})
}

func sticky(sessions time.Duration) func(*config.App) {
	return func(c *config.App) {
		c.Route.Sticky = &config.Sticky{Cookie: "release_shop"}
		c.Cutover.Drain.Sessions = config.Duration(sessions)
	}
}

// sessions are the releases whose clients stay on them in the newest table.
func (r *rig) sessions() []string {
	r.t.Helper()
	table, err := r.router.Applied(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	var releases []string
	for _, route := range table.Routes {
		for _, fl := range route.Fleets {
			if fl.Sessions {
				releases = append(releases, fl.Release)
			}
		}
	}
	return releases
}

func wantSessions(r *rig, want ...string) {
	r.t.Helper()
	if got := r.sessions(); !slices.Equal(got, want) {
		r.t.Fatalf("sessions stay on %v, want %v\n%s", got, want, r.describe())
	}
}

func TestSessionsStayOnTheOldFleet(t *testing.T) {
	stepped := func(c *config.App) {
		sticky(10 * time.Minute)(c)
		coldAtOnce(c)
		c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(2 * time.Minute)}, {Percent: 100}}
	}
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 2, stepped)
		wantSessions(r)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, stepped)})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 })
		wantSessions(r, "r1")
		op = r.wait(op)
		wantSessions(r, "r1")
		if fl := r.state().fleetOf("r1"); fl.State != FleetDraining || fl.Deadline(0) != fl.SessionsBy {
			t.Errorf("the old fleet is %s until %s", fl.State, fl.Deadline(0))
		}
		time.Sleep(10*time.Minute - 10*time.Second)
		wantSessions(r, "r1")
		if took := shotAfter(r, "r1", op.Ended); took < 10*time.Minute-time.Second || took > 10*time.Minute+3*time.Second {
			t.Errorf("shot %s after the cutover, the sessions have 10m", took)
		}
		wantSessions(r)
	})
}

// A share that is held for longer than the sessions have sends its clients over in the end.
func TestSessionsEndAtAHeldShare(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, sticky(10*time.Minute))
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, sticky(10*time.Minute))})
		r.done(Request{Kind: KindCutover, Percent: 10})
		time.Sleep(9 * time.Minute)
		wantSessions(r, "r1")
		time.Sleep(2 * time.Minute)
		wantSessions(r)
		wantWeights(r, map[string]int{"r1": 90, "r2": 10})
	})
}

func TestSessionsAndTheWayBack(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		held := func(c *config.App) {
			sticky(10 * time.Minute)(c)
			c.Cutover.Steps = []config.Step{{Percent: 10, Hold: config.Duration(time.Hour)}, {Percent: 100}}
		}
		r.up(1, 1, held)
		op := r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, held)})
		r.until("10 %", func(*State) bool { return r.weights()["r2"] == 10 })
		if err := r.steer("abort"); err != nil {
			t.Fatal(err)
		}
		r.wait(op)
		wantSessions(r) // nobody stays on a release that was aborted, and all are on the other anyway
		r.up(3, 1, sticky(10*time.Minute))
		wantSessions(r, "r1")
		r.done(Request{Kind: KindRollback})
		wantWeights(r, map[string]int{"r1": 100})
		wantSessions(r)
		r.up(4, 1, sticky(10*time.Minute))
		wantSessions(r, "r1")
		// One warm fleet is kept, and r1 beside it as long as its sessions last.
		r.up(5, 1, sticky(10*time.Minute))
		wantSessions(r, "r1", "r4")
		time.Sleep(11 * time.Minute)
		wantSessions(r)
		r.until("one fleet", func(s *State) bool { return len(s.Fleets) == 1 })
	})
}

// A route that does not know its clients any more has no sessions.
func TestSessionsOfARouteThatForgot(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, sticky(time.Hour))
		r.up(2, 1)
		r.until("the sessions to be over", func(s *State) bool { return s.fleetOf("r1").SessionsBy.IsZero() })
		if fl := r.state().fleetOf("r1"); fl.State != FleetWarm && fl.State != FleetDraining {
			t.Errorf("r1 is %s", fl.State)
		}
	})
}

// The key is the same for the next agent, another for another app, and shown nowhere.
func TestStickyKey(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		key := func() string {
			table, err := r.router.Applied(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return table.Routes[0].Sticky.Key
		}
		r.up(1, 1, sticky(0))
		before, tables := key(), len(r.router.Tables())
		r.stop()
		r.driver = r.driver.Reopen("")
		r.start()
		time.Sleep(5 * time.Second)
		if key() != before || len(before) != 64 || len(r.router.Tables()) != tables {
			t.Errorf("the key was %q, is %q; %d more tables", before, key(), len(r.router.Tables())-tables)
		}
		if other := stickyKey(r.o.secret, Key{App: "other", Env: "production"}); other == before {
			t.Error("two apps have the same key")
		}
		st, err := r.o.Status(t.Context(), shop)
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string]string{
			"status": fmt.Sprintf("%+v", st), "events": fmt.Sprintf("%+v", r.events("up.done")),
		} {
			if strings.Contains(text, before) {
				t.Errorf("the %s shows the key", what)
			}
		}
		// A table that is refused says why, and not what is in it.
		r.takeLate(":9090")
		op := r.wait(r.submit(Request{Kind: KindUp, Image: image(2), Config: shopConfig(1, sticky(0), func(c *config.App) { c.Route.Listen = ":9090" })}))
		if op.Failure == nil || op.Failure.Code != fault.RolledBack || strings.Contains(op.Failure.Message, before) {
			t.Errorf("it failed with %+v", op.Failure)
		}
	})
}

func TestRuleTargets(t *testing.T) {
	rules := func(c *config.App) {
		for _, to := range []string{"candidate", "serving", "previous", "r1", "r9"} {
			c.Route.Rules = append(c.Route.Rules, config.Rule{Path: []string{"/" + to}, To: to})
		}
	}
	targets := func(r *rig) string {
		table, err := r.router.Applied(context.Background())
		if err != nil {
			r.t.Fatal(err)
		}
		var out []string
		for _, rule := range table.Routes[0].Rules {
			out = append(out, strings.TrimPrefix(rule.Paths[0], "/")+"="+strings.Split(rule.Fleet, "/")[3])
		}
		return strings.Join(out, " ")
	}
	inRig(t, func(t *testing.T, r *rig) {
		want := func(want string) {
			t.Helper()
			if got := targets(r); got != want {
				t.Errorf("rules are %q, want %q\n%s", got, want, r.describe())
			}
		}
		r.up(1, 1, rules)
		want("serving=r1 r1=r1")
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, rules)})
		want("candidate=r2 serving=r1 r1=r1")
		r.done(Request{Kind: KindCutover, Percent: 60})
		want("candidate=r2 serving=r2 previous=r1 r1=r1")
		r.done(Request{Kind: KindCutover})
		want("serving=r2 previous=r1 r1=r1")
		r.done(Request{Kind: KindRollback})
		want("serving=r1 r1=r1")
		r.until("r2 shot", func(s *State) bool { return len(s.Fleets) == 1 })
		r.setSick(image(3), true)
		r.wait(r.submit(Request{Kind: KindLaunch, Image: image(3), Config: shopConfig(1, rules), KeepFailed: true}))
		want("serving=r1 r1=r1")
	})
}

// What the file says about a route is what the table says.
func TestRouteOfConfiguration(t *testing.T) {
	full := func(c *config.App) {
		c.Route.NodeHTTP = config.NodeH2C
		c.Route.Hosts = []string{"shop.example"}
		c.Route.TLS = &config.TLS{ACME: &config.ACME{Email: "a@b", Directory: "https://ca", RootCA: "/ca.pem"}, Redirect: ":80", HSTS: config.Duration(time.Hour), ClientCA: "/c.pem"}
		c.Route.Trusted, c.Route.ProxyProtocol = []string{"10.0.0.0/8"}, true
		c.Route.Rules = []config.Rule{{Header: map[string]string{"X-Team": "beta"}, Cookie: map[string]string{"b": ""}, Path: []string{"/b"}, From: []string{"10.0.0.0/8"}, To: "r1"}}
		c.Route.Sticky = &config.Sticky{Header: "X-User"}
		c.Route.Balance = config.Balance{SlowStart: 1, EjectAfter: 2, MaxInFlight: 3, MaxQueue: 4, QueueWait: 5, Timeout: 6, HedgeAfter: 7}
	}
	plain := func(c *config.App) {
		c.Route.Protocol, c.Route.Sticky = config.ProtocolTCP, &config.Sticky{ClientAddress: true}
	}
	for name, c := range map[string]struct {
		change func(*config.App)
		want   router.Route
	}{
		"full": {full, router.Route{
			Nodes: router.NodeH2C, Hosts: []string{"shop.example"},
			TLS:     &router.TLS{ACME: &router.ACME{Email: "a@b", Directory: "https://ca", RootCA: "/ca.pem"}, Redirect: ":80", HSTS: time.Hour, ClientCA: "/c.pem"},
			Trusted: []string{"10.0.0.0/8"}, ProxyProtocol: true,
			Rules: []router.Rule{{Headers: map[string]string{"X-Team": "beta"}, Cookies: map[string]string{"b": ""}, Paths: []string{"/b"},
				From: []string{"10.0.0.0/8"}, Fleet: "shop/production/web/r1/1"}},
			Sticky:  &router.Sticky{By: router.StickyHeader, Header: "X-User"},
			Balance: router.Balance{SlowStart: 1, EjectAfter: 2, MaxInFlight: 3, MaxQueue: 4, QueueWait: 5, Timeout: 6, HedgeAfter: 7},
		}},
		"tcp": {plain, router.Route{Protocol: router.TCP, Sticky: &router.Sticky{By: router.StickyAddress}}},
	} {
		t.Run(name, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.up(1, 1, c.change)
				table, err := r.router.Applied(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				c.want.Name, c.want.Listen, c.want.Fleets = "shop/production/web", ":8080", table.Routes[0].Fleets
				if !sameRoutes(table.Routes, []router.Route{c.want}) {
					t.Errorf("got  %+v\nwant %+v", table.Routes[0], c.want)
				}
				r.stop()
				n := len(r.router.Tables())
				r.driver = r.driver.Reopen("")
				r.start()
				time.Sleep(5 * time.Second)
				if m := len(r.router.Tables()); m != n {
					t.Errorf("the next agent applied %d tables though nothing changed", m-n)
				}
			})
		})
	}
}
