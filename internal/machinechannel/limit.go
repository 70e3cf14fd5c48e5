package machinechannel

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// endPatience is how long a machine has to confirm that what nobody wants any more has ended. One that does not answer that, since
// its kernel is stuck, answers nobody: closing a channel waits for its answer, closing the connection does not.
const endPatience = 5 * time.Second

// limit ends a command or a copy with its context.
type limit struct {
	stop func() bool
	done chan struct{}
	once sync.Once

	mu    sync.Mutex
	what  io.Closer // nil: the machine has not opened it so far
	ended bool
}

func within(ctx context.Context, connection *ssh.Client) *limit {
	l := &limit{done: make(chan struct{})}
	l.stop = context.AfterFunc(ctx, func() {
		stuck := time.AfterFunc(endPatience, func() { _ = connection.Close() })
		defer stuck.Stop()
		l.end()
		<-l.done
	})
	return l
}

// of says what is to be closed.
func (l *limit) of(what io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.what = what
	if l.ended {
		_ = what.Close()
	}
}

func (l *limit) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.what != nil {
		_ = l.what.Close()
	}
}

// over says that it has ended.
func (l *limit) over() {
	l.once.Do(func() {
		l.stop()
		close(l.done)
	})
}
