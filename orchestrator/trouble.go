package orchestrator

import (
	"context"
	"log/slog"
	"time"

	"github.com/bootandshoot/release/internal/fault"
)

// trouble logs what goes wrong again and again: when it begins, when it changes, and when it is over.
type trouble struct {
	log  *slog.Logger
	last map[string]string // by what was being done
}

// say takes the outcome of a try. A driver that we have no rights for is no fault of the machine: it may well be none of ours.
func (t *trouble) say(doing string, err error) {
	if err == nil {
		if t.last[doing] != "" {
			t.log.Info(doing + ": works again")
			delete(t.last, doing)
		}
		return
	}
	if t.last[doing] == err.Error() {
		return
	}
	if t.last == nil {
		t.last = map[string]string{}
	}
	t.last[doing] = err.Error()
	level := slog.LevelWarn
	if fault.Is(err, fault.Denied) {
		level = slog.LevelInfo
	}
	t.log.Log(context.Background(), level, doing, "error", err)
}

// complain logs an error of something that is done again and again: when it changes, once a second at most, and once a minute
// as long as it stays.
func (o *Orchestrator) complain(doing string, err error) {
	now, last := o.opts.Now(), o.world.complained[doing]
	since := now.Sub(last.at)
	if since < time.Second || since < complainAgain && last.text == err.Error() {
		return
	}
	o.world.complained[doing] = complaint{now, err.Error()}
	o.log.Error(doing, "error", err)
}

// complainAgain is after how long an error that stays is logged again.
const complainAgain = time.Minute

// complaint is what was logged last of something.
type complaint struct {
	at   time.Time
	text string
}
