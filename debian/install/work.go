package install

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

// install finds or makes the layers. What is under is known.
func (s *stage) install(ctx context.Context, prepare func(context.Context) error) ([]images.Layer, error) {
	key := s.key()
	if s.o.Cache != nil {
		if layers, ok := s.o.Cache.Layers(key); ok {
			return layers, nil
		}
	}
	if err := prepare(ctx); err != nil {
		return nil, fmt.Errorf("install packages: %w", err)
	}
	layers, err := s.work(ctx)
	if err != nil {
		return nil, fmt.Errorf("install packages: %w", diskFull(err))
	}
	if s.o.Cache != nil {
		if err := s.o.Cache.KeepLayers(key, layers); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

// diskFull gives the code of a full disk to an error that has none.
func diskFull(err error) error {
	var f *fault.Error
	if errors.As(err, &f) || !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	return fault.New(fault.NoSpace, "%w", err).WithHint("free some disk space, or set RELEASE_IMAGES_DIR to a folder on a larger disk")
}

// work brings the packages, which are being unpacked, to the state installed. Decoders fill the machine's cores, one
// batch after the other; scripts of a batch run while the next is unpacked and finished layers are written.
func (s *stage) work(ctx context.Context) ([]images.Layer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.unpacking.done:
			if err := s.unpacking.err; err != nil {
				cancel(err)
			}
		case <-ctx.Done():
			s.unpacking.stop(context.Cause(ctx))
		}
	}()
	writing, wctx := errgroup.WithContext(ctx)
	s.writers = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))
	err := s.runBatches(ctx, wctx, writing, cancel)
	if err != nil {
		cancel(err)
	}
	<-s.unpacking.done
	for _, e := range []error{context.Cause(ctx), s.unpacking.err, err, writing.Wait()} {
		if e != nil {
			return nil, e
		}
	}
	return s.finish(ctx)
}

// runBatches brings one batch after the other to the state installed.
func (s *stage) runBatches(ctx, wctx context.Context, writing *errgroup.Group, fail context.CancelCauseFunc) error {
	for i, b := range s.batches {
		early := !s.first() || i > 0
		if early {
			if err := s.runPreinsts(ctx, b); err != nil {
				return err
			}
		}
		select {
		case <-b.unpack:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := s.settle(ctx, b); err != nil {
			return err
		}
		s.done = append(s.done, b.groups...)
		for _, g := range b.groups {
			writing.Go(func() error {
				err := s.writeGroup(wctx, g)
				if err != nil {
					fail(err) // scripts that still run would do it for nothing
				}
				return err
			})
		}
		if err := s.configure(ctx, b, !early); err != nil {
			return err
		}
	}
	return nil
}

// finish makes the last layer and hands the folders to the store.
func (s *stage) finish(ctx context.Context) ([]images.Layer, error) {
	s.tell(Event{Kind: Phase, Line: "capture"})
	last, err := s.capture(ctx)
	if err != nil {
		return nil, err
	}
	var layers []images.Layer
	for _, g := range s.done {
		if err := s.o.Store.Adopt(ctx, g.layer, g.root, g.skipped); err != nil {
			return nil, err
		}
		layers = append(layers, g.layer)
	}
	return append(layers, last), nil
}
