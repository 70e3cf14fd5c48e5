package orchestrator

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/internal/human"
)

// Jobs are tasks with a name. Those with a schedule are begun by the leading agent, with the image, environment and secrets of
// the release that the route follows, as long as a release has traffic. There is one run of a job at a time. What was due while
// no agent watched is run once, when one does again.

// JobState is what is known of a job.
type JobState struct {
	Name     string    `json:"name"`
	Schedule string    `json:"schedule,omitempty"` // that Next was made of
	Next     time.Time `json:"next,omitzero"`      // when the next run is due
	Last     string    `json:"last,omitempty"`     // the task of the last run that ended
	LastAt   time.Time `json:"last_at,omitzero"`   // when that began
	Took     float64   `json:"took,omitempty"`     // its command, seconds
	Code     int       `json:"code,omitempty"`     // its exit code
	Failure  string    `json:"failure,omitempty"`  // why it did not come to an end of its own
	Skipped  int       `json:"skipped,omitempty"`  // runs left out since, as one was under way
}

// lateRun is how late a run may be without a word: a round, and the agent's start.
const lateRun = time.Minute

// jobRelease is the release that jobs run with: the one that the route follows, nil while none has traffic. During a cutover
// that is the old one.
func (s *State) jobRelease() *Release {
	if s.serving() == nil {
		return nil
	}
	return s.release(s.Follows)
}

func (s *State) job(name string) *JobState {
	for _, j := range s.Jobs {
		if j.Name == name {
			return j
		}
	}
	return nil
}

// schedule begins the jobs that are due, and keeps what is known of the others.
func (r *round) schedule() {
	rel := r.s.jobRelease()
	if op := r.s.exclusive(); rel == nil || op != nil && op.Kind == KindDestroy {
		return // their next runs stay as they are
	}
	for _, name := range slices.Sorted(maps.Keys(rel.Config.Jobs)) {
		if job := rel.Config.Jobs[name]; !job.Schedule.IsZero() {
			r.scheduleJob(rel, name, job)
		}
	}
	r.s.Jobs = slices.DeleteFunc(r.s.Jobs, func(j *JobState) bool {
		_, known := rel.Config.Jobs[j.Name]
		return !known && r.s.running(j.Name) == nil
	})
}

// scheduleJob begins one run if it is time for it.
func (r *round) scheduleJob(rel *Release, name string, job config.Job) {
	j := r.jobState(name)
	if j.Schedule != job.Schedule.String() {
		j.Schedule, j.Next = job.Schedule.String(), job.Schedule.Next(r.f.Now)
	}
	if j.Next.IsZero() {
		return // a day that never comes, such as the 30th of February
	}
	if r.f.Now.Before(j.Next) {
		j.Next = r.notLater(j, job.Schedule)
	}
	if r.f.Now.Before(j.Next) {
		return
	}
	if under := r.s.running(name); under != nil {
		if job.OnOverlap == config.OverlapSkip {
			j.Skipped++
			r.sayTask("skipped", under, "job %s: the run of %s is left out, as %s still runs", name, j.Next.UTC().Format(time.DateTime), under.ID)
			j.Next = job.Schedule.Next(r.f.Now)
		}
		return
	}
	fl := r.s.serving()
	t := r.beginTask(taskSpec{
		release: rel, role: rel.Config.MainRole(), command: job.Cmd, timeout: job.Timeout.Std(), driver: fl.Driver, scope: fl.Scope,
		by: "its schedule", job: name, scheduled: true,
	})
	if late := r.f.Now.Sub(j.Next); late > lateRun {
		r.sayTask("late", t, "job %s was due %s ago, when nobody could begin it: it runs now, once", name, human.Span(late))
	}
	j.Next = job.Schedule.Next(r.f.Now)
}

// setBack is how far a clock that is set back may lie behind the newest run without the runs since being due again.
const setBack = 25 * time.Hour

// notLater is when a job is due next: when that was said by a clock that was ahead and has been set since, it is said again. What ran
// within the time that comes a second time does not run a second time.
func (r *round) notLater(j *JobState, schedule config.Schedule) time.Time {
	from := r.f.Now
	if ahead := j.LastAt.Sub(from); ahead > 0 && ahead < setBack {
		from = j.LastAt
	}
	if next := schedule.Next(from); j.Next.After(next) {
		return next
	}
	return j.Next
}

// jobState is what is known of a job, which is written down from now on.
func (r *round) jobState(name string) *JobState {
	if j := r.s.job(name); j != nil {
		return j
	}
	j := &JobState{Name: name}
	r.s.Jobs = append(r.s.Jobs, j)
	slices.SortFunc(r.s.Jobs, func(a, b *JobState) int { return strings.Compare(a.Name, b.Name) })
	return j
}

// noteRun keeps how a run of a job ended.
func (r *round) noteRun(t *Task) {
	j := r.jobState(t.Job)
	j.Last, j.LastAt, j.Took, j.Code, j.Failure, j.Skipped = t.ID, t.At, 0, t.Code, "", 0
	if !t.Started.IsZero() {
		j.Took = t.Finished.Sub(t.Started).Seconds()
	}
	if t.Failure != nil {
		j.Failure = t.Failure.Message
	}
}

// jobs are those of the release that jobs run with, by name.
func (s *State) jobs() []JobStatus {
	rel := s.jobRelease()
	if rel == nil {
		return nil
	}
	var list []JobStatus
	for _, name := range slices.Sorted(maps.Keys(rel.Config.Jobs)) {
		st := JobStatus{Name: name, Job: rel.Config.Jobs[name]}
		if j := s.job(name); j != nil {
			st.State, st.Next = *j, j.Next
		}
		if t := s.running(name); t != nil {
			st.Runs = t.ID
		}
		list = append(list, st)
	}
	return list
}
