package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bootandshoot/release/internal/atomicfile"
)

// A router that has a table serves it whatever else of its folder can not be written: on a full disk it goes on without the
// rest, and tries that again until it is there.

const catchUpEvery = time.Second

// chore is something that could not be written.
type chore struct {
	what string
	do   func() error
}

// insist says that there was an error, if there was, and has what failed done again later.
func (p *process) insist(what string, err error, do func() error) {
	if err == nil {
		return
	}
	p.log.Error("the router goes on without "+what+", which is tried again", "error", err)
	p.chores = append(p.chores, chore{what, do})
}

// catchUp does what could not be done at the start, until all of it is, or is the successor's.
func (p *process) catchUp(ctx context.Context) {
	tick := time.NewTicker(catchUpEvery)
	defer tick.Stop()
	for p.hasChores() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// hasChores tries them. It holds op, so that no file of a successor is overwritten.
func (p *process) hasChores() bool {
	if !p.op.TryLock() {
		return true // an upgrade or a table is under way
	}
	defer p.op.Unlock()
	if p.handed {
		return false
	}
	p.chores = slices.DeleteFunc(p.chores, func(c chore) bool {
		err := c.do()
		if err == nil {
			p.log.Info("the router has " + c.what + " now")
		}
		return err == nil
	})
	return len(p.chores) > 0
}

func (p *process) reopenAccess() error { return p.e.access.reopen() }

func (p *process) writePID() error {
	path := filepath.Join(p.cfg.Dir, pidName)
	err := atomicfile.Write(path, fmt.Appendln(nil, os.Getpid()), 0o600)
	if err != nil {
		_ = os.Remove(path) // it names a process that ended
	}
	return err
}

// openControl listens on the control socket. Where a disk has no room for one more name, that of the process before, which
// ended without removing it, makes room.
func (p *process) openControl() error {
	l, err := listenControl(p.cfg.Dir)
	if err != nil {
		_ = os.Remove(filepath.Join(p.cfg.Dir, socketName))
		l, err = listenControl(p.cfg.Dir)
	}
	if err != nil {
		return err
	}
	p.control = l
	return nil
}

func (p *process) openLateControl() error {
	if err := p.openControl(); err != nil {
		return err
	}
	p.serveControl()
	return nil
}

func (p *process) serveControl() {
	go func(l *net.UnixListener) { _ = p.api.Serve(controlListener{l}) }(p.control)
}

// nameEdge finds the name of this edge, or makes one at the first start in the folder.
func (p *process) nameEdge(in *inheritance) {
	path := filepath.Join(p.cfg.Dir, idName)
	b, err := os.ReadFile(path)
	if p.edge = strings.TrimSpace(string(b)); err == nil && p.edge != "" {
		return
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		p.log.Error("the name of this edge does not read, it gets another one", "error", err)
	}
	if in != nil && in.Edge != "" {
		p.edge = in.Edge
	} else {
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "edge"
		}
		p.edge = host + "-" + newInstance()[:6]
	}
	write := func() error { return atomicfile.Write(path, []byte(p.edge+"\n"), 0o600) }
	p.insist("a lasting name of this edge", write(), write)
}

// sweepFolder removes what a process that was killed left half written. The caller holds the folder's lock.
func (p *process) sweepFolder() {
	left, err := filepath.Glob(filepath.Join(p.cfg.Dir, temporary))
	if err != nil {
		return // there is no bad pattern
	}
	for _, path := range left {
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := os.Remove(path); err != nil {
			p.log.Warn("a half-written file stays", "path", path, "error", err)
		}
	}
}
