package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// script runs a machine through lines "SECONDS begin|stop|due|forward SIGNAL|NAME CODE" and gives what it did, a line
// each where something was done.
func script(t *testing.T, m *Machine, lines string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		var at float64
		var what, more string
		_, _ = fmt.Sscan(line, &at, &what, &more)
		now := time.Unix(1000, 0).Add(time.Duration(at * float64(time.Second)))
		var do []Action
		switch what {
		case "begin":
			do = m.Begin(now)
		case "stop":
			do = m.Stop(now)
		case "due":
			do = m.Due(now)
		case "forward":
			do = m.Forward(more)
		default:
			var code int
			_, _ = fmt.Sscan(more, &code)
			do = m.Ended(now, what, Status{Code: code})
		}
		fmt.Fprintf(&out, "%v%s%s", at, actions(do), after(m, now))
	}
	return out.String()
}

func actions(list []Action) string {
	var b strings.Builder
	for _, a := range list {
		switch a.Kind {
		case Say:
			fmt.Fprintf(&b, " (%s %s)", a.Service, a.Text)
		case Signal:
			fmt.Fprintf(&b, " %s→%s", a.Signal, a.Service)
		default:
			fmt.Fprintf(&b, " %s %s", a.Kind, a.Service)
		}
	}
	return b.String()
}

func after(m *Machine, now time.Time) string {
	if code, done := m.Done(); done {
		return fmt.Sprintf(" done %d\n", code)
	}
	if next, ok := m.Next(); ok {
		return fmt.Sprintf(" next +%v\n", next.Sub(now).Seconds())
	}
	return "\n"
}

func TestMachine(t *testing.T) {
	db := Service{Name: "db", Restart: Always, Stop: Stop{Signal: "INT", Grace: Duration(5 * time.Second)}}
	web := Service{Name: "web", Restart: Always, After: []string{"db"}}
	log := Service{Name: "a-log", Restart: OnFailure, After: []string{"web"}}
	job := Service{Name: "job"}
	for name, c := range map[string]struct {
		services     []Service
		script, want string
	}{
		"order of start and stop": {[]Service{log, web, db}, `
			0 begin
			1 stop
			2 stop
			2 a-log 0
			3 web 143
			4 db 0`, `
0 start db start web start a-log
1 TERM→a-log next +10
2 next +9
2 TERM→web next +10
3 INT→db next +5
4 done 0
`},
		"side by side": {[]Service{{Name: "a"}, {Name: "b"}}, `
			0 begin
			0 stop
			1 a 0
			10 due
			11 b 137`, `
0 start a start b
0 TERM→b TERM→a next +10
1 next +9
10 (b did not end within 10s and is killed) kill b
11 done 0
`},
		"the main service ends": {[]Service{db, job}, `
			0 begin
			1 job 3
			2 db 0`, `
0 start db start job
1 (job ended with exit code 3, so all end) INT→db next +5
2 done 3
`},
		"backoff": {[]Service{db}, `
			0 begin
			0 db 1
			1 due
			1 db 1
			3 due
			3 db 1
			7 due
			7 db 1
			15 due
			15 db 1
			31 due
			31 db 1
			61 due
			61 db 1
			91 due
			101 db 0
			102 due`, `
0 start db
0 (db ended with exit code 1, starts again in 1s) next +1
1 start db
1 (db ended with exit code 1, starts again in 2s) next +2
3 start db
3 (db ended with exit code 1, starts again in 4s) next +4
7 start db
7 (db ended with exit code 1, starts again in 8s) next +8
15 start db
15 (db ended with exit code 1, starts again in 16s) next +16
31 start db
31 (db ended with exit code 1, starts again in 30s) next +30
61 start db
61 (db ended with exit code 1, starts again in 30s) next +30
91 start db
101 (db ended with exit code 0, starts again in 1s) next +1
102 start db
`},
		"stopped while it waits": {[]Service{db, web}, `
			0 begin
			0 web 1
			0.5 stop
			0.7 db 0`, `
0 start db start web
0 (web ended with exit code 1, starts again in 1s) next +1
0.5 INT→db next +5
0.7 done 0
`},
		"on-failure": {[]Service{{Name: "a", Restart: OnFailure}, {Name: "b", Restart: OnFailure}}, `
			0 begin
			0 a 0
			1 b 2
			2 due
			3 b 0`, `
0 start a start b
0
1 (b ended with exit code 2, starts again in 1s) next +1
2 start b
3 done 0
`},
		"a link of the chain is gone": {[]Service{{Name: "a"}, {Name: "b", Restart: OnFailure, After: []string{"a"}}, {Name: "c", After: []string{"b"}}}, `
			0 begin
			1 b 0
			2 stop
			3 c 0
			4 a 0`, `
0 start a start b start c
1
2 TERM→c next +10
3 TERM→a next +10
4 done 0
`},
		"signals": {[]Service{db, web}, `
			0 begin
			1 web 1
			1 forward HUP`, `
0 start db start web
1 (web ended with exit code 1, starts again in 1s) next +1
1 HUP→db next +1
`},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := New(Config{Services: c.services})
			if err != nil {
				t.Fatal(err)
			}
			if got := "\n" + script(t, m, c.script); got != c.want {
				t.Errorf("got%swant%s", got, c.want)
			}
		})
	}
}

// Whatever happens: a stop comes to its end, nothing starts after it, and nobody is asked to stop while one that comes after
// it has not ended.
func TestStopHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		services := drawServices(t)
		m, err := New(Config{Services: services})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, m: m, alive: map[string]bool{}, now: time.Unix(1000, 0)}
		w.act(m.Begin(w.now))
		for range rapid.IntRange(0, 30).Draw(t, "events") {
			w.step(rapid.IntRange(0, 3).Draw(t, "what"))
		}
		w.act(m.Stop(w.now))
		w.stopped = true
		for range 1000 {
			if _, done := m.Done(); done {
				if len(w.alive) > 0 {
					t.Fatalf("done while %v run", w.alive)
				}
				return
			}
			w.step(rapid.IntRange(0, 2).Draw(t, "what"))
		}
		t.Fatal("the stop does not end")
	})
}

func drawServices(t *rapid.T) []Service {
	var list []Service
	for i := range rapid.IntRange(1, 6).Draw(t, "services") {
		s := Service{Name: string(rune('a' + i)), Restart: rapid.SampledFrom([]Restart{"", Never, OnFailure, Always}).Draw(t, "restart")}
		for j := range i {
			if rapid.Bool().Draw(t, "after") {
				s.After = append(s.After, string(rune('a'+j)))
			}
		}
		list = append(list, s)
	}
	return list
}

// world is processes as a machine has them.
type world struct {
	t       *rapid.T
	m       *Machine
	alive   map[string]bool
	now     time.Time
	stopped bool
}

func (w *world) step(what int) {
	switch what {
	case 0:
		if at, ok := w.m.Next(); ok && at.After(w.now) {
			w.now = at
		}
		w.act(w.m.Due(w.now))
	case 1, 2:
		names := make([]string, 0, len(w.alive))
		for name := range w.alive {
			names = append(names, name)
		}
		if len(names) == 0 {
			return
		}
		slices.Sort(names)
		name := rapid.SampledFrom(names).Draw(w.t, "ends")
		delete(w.alive, name)
		w.act(w.m.Ended(w.now, name, Status{Code: rapid.IntRange(0, 1).Draw(w.t, "code")}))
	case 3:
		w.now = w.now.Add(time.Duration(rapid.IntRange(0, 20).Draw(w.t, "seconds")) * time.Second)
	}
}

func (w *world) act(do []Action) {
	for _, a := range do {
		switch a.Kind {
		case Start:
			if w.stopped || w.alive[a.Service] {
				w.t.Fatalf("start of %s: stopped %v, alive %v", a.Service, w.stopped, w.alive)
			}
			w.alive[a.Service] = true
		case Signal:
			for _, u := range w.m.units {
				if w.alive[u.Name] && slices.Contains(u.After, a.Service) {
					w.t.Fatalf("%s is asked to stop while %s runs", a.Service, u.Name)
				}
			}
		case Kill:
			delete(w.alive, a.Service)
			w.act(w.m.Ended(w.now, a.Service, Status{Code: 137}))
		}
	}
}
