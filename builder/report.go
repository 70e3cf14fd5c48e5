package builder

import (
	"sync"
	"time"
)

// reporter hands events on, one at a time.
type reporter struct {
	mu    sync.Mutex
	to    func(Event)
	index int
	total int
}

func (r *reporter) emit(e Event) {
	if r.to == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Index, e.Total = r.index, r.total
	r.to(e)
}

// part is a piece of a bake that people see: the base, an installation of packages, a step, a test. It begins, and it ends
// unless it fails.
type part struct {
	b       *bake
	name    string
	test    bool
	started time.Time
}

// begin tells that a part is under way.
func (b *bake) begin(name string) *part { return b.beginPart(&part{b: b, name: name}) }

// beginTest is begin for a test of the image.
func (b *bake) beginTest(name string) *part { return b.beginPart(&part{b: b, name: name, test: true}) }

func (b *bake) beginPart(p *part) *part {
	p.started = b.now()
	b.report.index++
	b.report.emit(Event{Kind: Started, Step: p.name, Test: p.test})
	return p
}

// end adds what a part made to the result and tells it. Name and time of made are the part's own.
func (p *part) end(res *Result, made StepResult) {
	made.Name, made.Seconds = p.name, p.seconds()
	res.Cached = res.Cached && made.Cached
	res.Steps = append(res.Steps, made)
	p.b.report.emit(Event{Kind: Done, Step: p.name, Cached: made.Cached, Seconds: made.Seconds, Bytes: made.Bytes})
}

// passed adds a test to the result; cached says that it passed before.
func (p *part) passed(res *Result, cached bool) {
	t := TestResult{Name: p.name, Cached: cached, Seconds: p.seconds()}
	res.Cached = res.Cached && cached
	res.Tests = append(res.Tests, t)
	p.b.report.emit(Event{Kind: Done, Step: p.name, Cached: cached, Test: true, Seconds: t.Seconds})
}

func (p *part) seconds() float64 { return p.b.now().Sub(p.started).Seconds() }
