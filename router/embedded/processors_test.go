package embedded

import (
	"runtime"
	"testing"
	"time"
)

func TestNeededProcessors(t *testing.T) {
	for _, test := range []struct {
		name string
		now  int
		load float64
		want int
	}{
		{"idle", 4, 0.01, 3},
		{"one does", 2, 0.7, 1},
		{"one is crowded", 1, 0.95, 2},
		{"one has room", 1, 0.85, 1},
		{"two are needed", 2, 1.2, 2},
		{"two are crowded", 2, 1.9, 3},
		{"nothing flaps", 2, 0.85, 2},
	} {
		if got := needed(test.now, test.load); got != test.want {
			t.Errorf("%s: %d processors for a load of %.2f with %d, want %d", test.name, got, test.load, test.now, test.want)
		}
	}
}

// TestProcessorsFollow: an idle process comes down to one, and what may block gets one of its own as long as it lasts.
func TestProcessorsFollow(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	before := runtime.GOMAXPROCS(3)
	defer runtime.GOMAXPROCS(before)
	p := newProcessors()
	idle := func() {
		for range 3 {
			p.spent = cpuTime() // whatever else the tests of this process do is no load
			p.look(p.at.Add(time.Hour))
		}
	}
	if idle(); runtime.GOMAXPROCS(0) != 1 {
		t.Errorf("an idle process has %d processors, want 1", runtime.GOMAXPROCS(0))
	}
	end := p.begin()
	if idle(); runtime.GOMAXPROCS(0) != 2 {
		t.Errorf("%d processors while a table is applied, want 2", runtime.GOMAXPROCS(0))
	}
	end()
	if idle(); runtime.GOMAXPROCS(0) != 1 {
		t.Errorf("%d processors after the table, want 1", runtime.GOMAXPROCS(0))
	}
	if p.restore(); runtime.GOMAXPROCS(0) != 3 {
		t.Errorf("%d processors after the end, want 3", runtime.GOMAXPROCS(0))
	}
}

// TestProcessorsThatSomebodySet are left alone.
func TestProcessorsThatSomebodySet(t *testing.T) {
	t.Setenv("GOMAXPROCS", "2")
	before := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(before)
	p := newProcessors()
	p.look(p.at.Add(time.Hour))
	if p.begin(); runtime.GOMAXPROCS(0) != 2 {
		t.Errorf("%d processors, want the 2 that were set", runtime.GOMAXPROCS(0))
	}
}

// TestProcessorsWhereThereIsRoom: another one is used when two looks in a row find those in use crowded and the machine idle.
func TestProcessorsWhereThereIsRoom(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	before := runtime.GOMAXPROCS(2)
	defer runtime.GOMAXPROCS(before)
	for _, test := range []struct {
		name  string
		looks string // c: crowded, r: not
		idle  float64
		want  int
	}{
		{"one look", "c", 1, 1},
		{"two looks", "cc", 0.5, 2},
		{"with one between", "crc", 1, 1},
		{"a machine that is busy", "cccc", 0.2, 1},
	} {
		runtime.GOMAXPROCS(2)
		p := newProcessors()
		idle := time.Duration(0)
		p.rest = func() (time.Duration, bool) { return idle, true }
		p.load, p.at, p.spent = 1, time.Now(), cpuTime()
		p.set()
		for _, look := range test.looks {
			const took = time.Hour
			idle += time.Duration(test.idle * float64(took))
			if p.spent = cpuTime(); look == 'c' {
				p.spent -= took
			}
			p.look(p.at.Add(took))
		}
		if got := runtime.GOMAXPROCS(0); got != test.want {
			t.Errorf("%s: %d processors, want %d", test.name, got, test.want)
		}
	}
}

func TestMachineIdle(t *testing.T) {
	if idle, ok := machineIdle(); !ok || idle <= 0 {
		t.Errorf("the machine's processors were idle for %s (known: %t)", idle, ok)
	}
}
