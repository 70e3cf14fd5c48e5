package orchestrator

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/store"
)

// TestRecord: all that a release went through is told, and of its configuration nothing secret.
func TestRecord(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		secret := func(cfg *config.App) {
			cfg.Fleet.Env, cfg.Fleet.Secrets = map[string]string{"DB_PASSWORD": "swordfish"}, map[string]string{"KEY": "env:KEY"}
		}
		r.up(1, 2, secret)
		origin := &Origin{User: "ann", PID: 42, Via: "unix:/agent.sock"}
		up := r.done(Request{Kind: KindUp, Image: image(2), Config: shopConfig(2, secret), Origin: origin})
		victim := r.running("r2")[0]
		r.driver.Log(victim, "err", "out of luck")
		r.driver.Log(victim, "err", "no entry with secret of env:KEY")
		r.driver.Kill(victim, fleet.Exit{Code: 1})
		r.until("the node to be replaced", func(s *State) bool {
			fl := s.fleetOf("r2")
			return len(s.Operations) == 0 && fl.healthy() == 2 && fl.Nodes[0].Name != victim
		})
		back := r.done(Request{Kind: KindRollback})
		rec, err := r.o.Record(ctx, shop, "r2")
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, op := range rec.Operations {
			ids = append(ids, op.ID)
		}
		if want := []string{up.ID, "op-3", back.ID}; !slices.Equal(ids, want) {
			t.Errorf("operations are %v, want %v", ids, want)
		}
		first := rec.Operations[0]
		if *first.Origin != *origin || first.Asked.Image != image(2) || !strings.HasPrefix(first.Asked.Config, "sha256:") || first.Asked.Config != rec.ConfigDigest {
			t.Errorf("it was asked by %+v with %+v; the configuration is %s", first.Origin, first.Asked, rec.ConfigDigest)
		}
		if first.FirstAt.IsZero() || first.FirstAt.After(first.Ended) {
			t.Errorf("it got its first traffic at %v", first.FirstAt)
		}
		if got := rec.Release.Config.Fleet.Env["DB_PASSWORD"]; got != config.Mask {
			t.Errorf("the password is shown: %q", got)
		}
		if len(rec.Tails) != 1 || rec.Tails[0].Node != victim || !slices.Contains(rec.Tails[0].Lines, "out of luck") || !slices.Contains(rec.Tails[0].Lines, "no entry with ***") {
			t.Errorf("last lines are %+v", rec.Tails)
		}
		shot := slices.ContainsFunc(rec.Events, func(e Event) bool { return e.Type == "node.shot" && e.Node == victim })
		foreign := slices.ContainsFunc(rec.Events, func(e Event) bool {
			return e.Release == "r1" && e.Operation != back.ID && strings.HasPrefix(e.Type, "up.")
		})
		if !shot || foreign {
			t.Errorf("entries: shot %v, of other releases %v", shot, foreign)
		}
		if _, err := r.o.Record(ctx, shop, "r9"); !fault.Is(err, fault.NotFound) {
			t.Errorf("r9: %v, want not found", err)
		}
		_, _, changes, err := r.o.Diff(ctx, shop, "r1", "r2")
		if err != nil || len(changes) != 0 {
			t.Errorf("diff of equal configurations: %v, %v", changes, err)
		}
	})
}

// TestReleasesAreNeverForgotten: what the state lets go of still answers, in order, and who made it.
func TestReleasesAreNeverForgotten(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		quick := func(cfg *config.App) { cfg.Cutover.KeepPrevious = 0 }
		for n := range keptReleases + 7 {
			r.up(n+1, 1, quick)
		}
		if n := len(r.state().Releases); n != keptReleases {
			t.Fatalf("the state has %d releases, want %d", n, keptReleases)
		}
		list, err := r.o.Releases(context.Background(), shop)
		if err != nil || len(list) != keptReleases+7 {
			t.Fatalf("%d releases, %v", len(list), err)
		}
		for i, rel := range list {
			if releaseNumber(rel.ID) != i+1 || rel.Image != image(i+1) || rel.State != ReleaseCompleted {
				t.Fatalf("release %d is %s %s %s", i+1, rel.ID, rel.Image, rel.State)
			}
		}
		rec, err := r.o.Record(context.Background(), shop, "r3")
		if err != nil || rec.Release.Config.Fleet.Size != 1 || len(rec.Operations) != 2 {
			t.Errorf("r3: %+v, %v", rec.Release, err)
		}
		if _, err := r.try(Request{Kind: KindRollback, Release: "r3"}); !fault.Is(err, fault.NotFound) {
			t.Errorf("rollback to r3: %v, want not found", err)
		}
	})
}

// TestRetention: what is too old or too much goes in bounded steps, what is young stays whole, numbers stay for ever.
func TestRetention(t *testing.T) {
	t.Parallel()
	inRig(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		quick := func(cfg *config.App) { cfg.Cutover.KeepPrevious = 0 }
		for n := range keptReleases + 2 {
			r.up(n+1, 1, quick)
		}
		r.done(Request{Kind: KindScale, Size: 2})
		watched := &stepStore{Store: r.store}
		r.stop()
		r.store, r.retention = watched, Retention{Keep: 2 * time.Hour, Operations: 10}
		r.start()
		time.Sleep(2 * retainEvery)
		ops, err := r.o.History(ctx, shop)
		if err != nil || len(ops) != 10 || ops[0].Kind != KindScale {
			t.Fatalf("%d operations, %v, want the newest 10", len(ops), err)
		}
		if all := r.journal(); len(all) == 0 || all[0].Seq != 1 {
			t.Error("young entries of the journal are gone")
		}
		time.Sleep(3 * time.Hour)
		if ops, err := r.o.History(ctx, shop); err != nil || len(ops) != 0 {
			t.Errorf("%d operations after their time, %v", len(ops), err)
		}
		if all := r.journal(); len(all) != 0 {
			t.Errorf("%d entries of the journal after their time", len(all))
		}
		rec, err := r.o.Record(ctx, shop, "r1")
		if err != nil || !rec.Thinned || rec.Release.Image != image(1) || rec.Release.By != "ann" || rec.ConfigDigest == "" || rec.Release.Config.App != "" {
			t.Errorf("r1: %+v, %v", rec, err)
		}
		if _, _, _, err := r.o.Diff(ctx, shop, "r1", "r50"); !fault.Is(err, fault.NotFound) {
			t.Errorf("diff: %v, want not found", err)
		}
		list, err := r.o.Releases(ctx, shop)
		if err != nil || len(list) != keptReleases+2 {
			t.Errorf("%d releases, %v", len(list), err)
		}
		if watched.most > store.MaxWrites || watched.most <= 10 {
			t.Errorf("the largest step had %d writes", watched.most)
		}
		op := r.up(200, 1, quick) // the journal goes on where it was
		if events := r.journal(); len(events) == 0 || events[0].Seq == 1 || op.Release != "r103" {
			t.Errorf("after it: %d entries, %s", len(events), op.Release)
		}
	})
}

// stepStore notes the largest commit that removes something.
type stepStore struct {
	store.Store
	most int
}

func (s *stepStore) Commit(ctx context.Context, writes ...store.Write) (uint64, error) {
	if slices.ContainsFunc(writes, func(w store.Write) bool { return w.Value == nil && !w.Check }) {
		s.most = max(s.most, len(writes))
	}
	return s.Store.Commit(ctx, writes...)
}

// TestEventsBefore: the number that it gives splits the journal at the time.
func TestEventsBefore(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		for n := range 3 {
			r.up(n+1, 2)
			time.Sleep(time.Minute)
		}
		events := r.journal()
		times := []time.Time{{}, events[0].At, time.Now()}
		for _, e := range events {
			times = append(times, e.At, e.At.Add(1), e.At.Add(-1))
		}
		for _, at := range times {
			after, err := r.o.EventsBefore(context.Background(), shop, at)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if (e.Seq > after) == e.At.Before(at) {
					t.Fatalf("since %v: after %d, but entry %d is of %v", at, after, e.Seq, e.At)
				}
			}
		}
	})
}

// journal is all entries, the oldest first.
func (r *rig) journal() []Event {
	r.t.Helper()
	events, err := r.o.Events(context.Background(), shop, 0, keptEvents)
	if err != nil {
		r.t.Fatal(err)
	}
	return events
}

// When a release was complete first stays on its record, and a rollback goes to the one that served last.
func TestCompletedOnce(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1)
		r.up(2, 1)
		at := r.state().release("r1").CompletedAt
		time.Sleep(time.Minute)
		r.done(Request{Kind: KindRollback, Release: "r1"})
		if got := r.state().release("r1").CompletedAt; !got.Equal(at) {
			t.Errorf("completed at %s, after a rollback to it at %s", at, got)
		}
		time.Sleep(time.Minute)
		r.up(3, 1)
		r.up(4, 1)
		r.done(Request{Kind: KindRollback, Release: "r1"}) // r4 is bad
		r.up(5, 1)
		if op := r.done(Request{Kind: KindRollback}); op.Release != "r1" {
			t.Errorf("rolled back to %s, r1 served before", op.Release)
		}
	})
}
