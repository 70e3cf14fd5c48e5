package install

import (
	"context"
	"fmt"

	"github.com/bootandshoot/release/images"
)

// Early is an installation on top of a system that is still being made: its packages are read and unpacked meanwhile, to
// where they probably go; what is otherwise is put right when the system is there.
type Early struct {
	s      *stage
	stop   context.CancelFunc
	spared bool          // a decoder's room is kept free, for the scripts of the system that is being made
	opened chan struct{} // closed when unpacking has begun, or cannot
	err    error
}

// Begin begins an installation whose Under is not known; that of o is not looked at. It works in the background and tells
// nobody how far it is until Finish. What goes wrong is said by Finish. The caller must call Close.
func Begin(ctx context.Context, o Options) (*Early, error) {
	o.Under = nil
	s, err := newStage(o, true)
	if err != nil {
		return nil, err
	}
	s.silent = true
	ctx, stop := context.WithCancel(ctx)
	e := &Early{s: s, stop: stop, opened: make(chan struct{}), spared: cap(s.decoders) > 1}
	if e.spared {
		s.decoders <- struct{}{}
	}
	go func() {
		defer close(e.opened)
		if e.err = s.begin(ctx); e.err == nil {
			s.startUnpacking(ctx)
		}
	}()
	return e, nil
}

// Finish does the rest as Install does. It must not be called twice.
func (e *Early) Finish(ctx context.Context, under []images.Layer) ([]images.Layer, error) {
	<-e.opened
	if len(under) == 0 {
		return nil, fmt.Errorf("install packages: on top of nothing")
	}
	if e.spared {
		<-e.s.decoders
	}
	e.s.o.Under = under
	return e.s.install(ctx, func(ctx context.Context) error {
		if e.err != nil {
			return e.err
		}
		e.s.speak()
		return e.s.attach(ctx)
	})
}

// Close ends what is under way and removes what is left of it.
func (e *Early) Close() {
	e.stop()
	<-e.opened
	e.s.close()
}
