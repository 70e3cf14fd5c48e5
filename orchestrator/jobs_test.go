package orchestrator

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/fleet"
)

func withJob(cmd []string, schedule, overlap string) func(*config.App) {
	return func(c *config.App) {
		c.Jobs = map[string]config.Job{"clean": {Cmd: cmd, Schedule: config.Schedule(schedule), Timeout: config.Duration(time.Hour), OnOverlap: overlap}}
	}
}

func (r *rig) runs() []Task {
	r.t.Helper()
	list, err := r.o.Tasks(context.Background(), shop, "clean")
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// messages are those of a type in the journal.
func (r *rig) messages(kind string) []string {
	r.t.Helper()
	all, err := r.o.Events(context.Background(), shop, 0, 10_000)
	if err != nil {
		r.t.Fatal(err)
	}
	var list []string
	for _, e := range all {
		if e.Type == kind {
			list = append(list, e.Message)
		}
	}
	return list
}

func TestJobRunsBySchedule(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, withJob(exits("0"), "*/5 * * * *", config.OverlapSkip))
		time.Sleep(26 * time.Minute) // virtual time begins at midnight
		list := r.runs()
		if len(list) != 5 {
			t.Fatalf("%d runs in 26 minutes, want 5", len(list))
		}
		for _, run := range list {
			if run.At.UTC().Minute()%5 != 0 || run.At.Second() > 2 || !run.Scheduled || run.Code != 0 {
				t.Errorf("a run at %s: %+v", run.At, run)
			}
		}
		j := r.state().job("clean")
		if j.Last != list[0].ID || j.Code != 0 || !j.Next.After(time.Now()) {
			t.Errorf("the job is %+v", j)
		}
	})
}

// During a cutover jobs run with the release that the route follows, afterwards with the new one.
func TestJobRunsWithReleaseThatHasTheTraffic(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		job := withJob(exits("0"), "* * * * *", config.OverlapSkip)
		r.up(1, 1, job)
		r.done(Request{Kind: KindLaunch, Image: image(2), Config: shopConfig(1, job)})
		r.done(Request{Kind: KindCutover, Percent: 50})
		time.Sleep(90 * time.Second)
		if run := r.runs()[0]; run.Release != "r1" {
			t.Errorf("at 50 %% the job ran with %s", run.Release)
		}
		r.done(Request{Kind: KindCutover})
		time.Sleep(90 * time.Second)
		if run := r.runs()[0]; run.Release != "r2" || run.Image != image(2) {
			t.Errorf("at 100 %% the job ran with %s", run.Release)
		}
		r.done(Request{Kind: KindDestroy})
		before := len(r.runs())
		time.Sleep(3 * time.Minute)
		if after := len(r.runs()); after != before {
			t.Errorf("%d runs after destroy", after-before)
		}
	})
}

func TestJobsNeverOverlap(t *testing.T) {
	for _, overlap := range []string{config.OverlapSkip, config.OverlapQueue} {
		t.Run(overlap, func(t *testing.T) {
			inRig(t, func(t *testing.T, r *rig) {
				r.up(1, 1, withJob(sleeps, "* * * * *", overlap))
				r.until("the first run", func(*State) bool { return len(r.running("")) == 2 })
				first := r.runs()[0]
				time.Sleep(150 * time.Second)
				if n := len(r.running("")); n != 2 {
					t.Fatalf("%d nodes run, want one of the fleet and one of the job", n)
				}
				ended := time.Now()
				r.driver.Kill(first.Node, fleet.Exit{})
				r.until("the second run", func(*State) bool { return r.runs()[0].ID != first.ID })
				second := r.runs()[0].At.Sub(ended)
				skipped := len(r.messages("task.skipped"))
				if overlap == config.OverlapQueue && (second > 3*time.Second || skipped != 0) {
					t.Errorf("the run that waited began %s later, %d were left out", second, skipped)
				}
				if overlap == config.OverlapSkip && (second < 20*time.Second || skipped != 2) {
					t.Errorf("the next run began %s later, %d were left out", second, skipped)
				}
			})
		})
	}
}

// What was due while nobody watched runs once.
func TestMissedRunIsMadeUpForOnce(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, withJob(exits("0"), "0 * * * *", config.OverlapSkip))
		r.stop()
		time.Sleep(5*time.Hour + 30*time.Minute)
		r.start()
		time.Sleep(10 * time.Minute)
		list, said := r.runs(), r.messages("task.late")
		if len(list) != 1 || len(said) != 1 || !strings.Contains(said[0], "nobody could begin it") {
			t.Errorf("%d runs, said %q", len(list), said)
		}
		time.Sleep(30 * time.Minute)
		if n := len(r.runs()); n != 2 {
			t.Errorf("%d runs after the next full hour, want 2", n)
		}
	})
}

// A changed schedule counts from now; a job that is gone is forgotten.
func TestJobChangesWithItsRelease(t *testing.T) {
	inRig(t, func(t *testing.T, r *rig) {
		r.up(1, 1, withJob(exits("0"), "0 * * * *", config.OverlapSkip))
		r.up(2, 1, withJob(exits("0"), "30 * * * *", config.OverlapSkip))
		r.until("the new schedule", func(s *State) bool { return s.job("clean") != nil && s.job("clean").Next.Minute() == 30 })
		r.up(3, 1)
		r.until("no job", func(s *State) bool { return len(s.Jobs) == 0 })
	})
}

// A clock that was ahead and is set back neither keeps a job from running for long, nor has it run again what it ran.
func TestJobsOverAClockThatIsSetBack(t *testing.T) {
	day := func(d, h, m int) time.Time { return time.Date(2026, 11, d, h, m, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		now, last, next, want time.Time
	}{
		"as ever":            {day(21, 12, 0), day(21, 0, 0), day(22, 0, 0), day(22, 0, 0)},
		"overdue":            {day(23, 12, 0), day(21, 0, 0), day(22, 0, 0), day(22, 0, 0)},
		"a year ahead":       {day(21, 12, 0), day(21, 0, 0), day(22, 0, 0).AddDate(1, 0, 0), day(22, 0, 0)},
		"ran a year ahead":   {day(21, 12, 0), day(21, 0, 0).AddDate(1, 0, 0), day(22, 0, 0).AddDate(1, 0, 0), day(22, 0, 0)},
		"back by seconds":    {day(20, 23, 59), day(21, 0, 0), day(22, 0, 0), day(22, 0, 0)},
		"back by some hours": {day(20, 18, 0), day(21, 0, 0), day(22, 0, 0), day(22, 0, 0)},
		"never ran":          {day(21, 12, 0), time.Time{}, day(25, 0, 0), day(22, 0, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			r := &round{f: Facts{Now: c.now}}
			if got := r.notLater(&JobState{LastAt: c.last, Next: c.next}, "0 0 * * *"); !got.Equal(c.want) {
				t.Errorf("due at %s, want %s", got, c.want)
			}
		})
	}
}
