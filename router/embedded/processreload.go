package embedded

import (
	"context"
	"os"
)

// reload is what SIGHUP asks for.
func (p *process) reload(ctx context.Context) {
	p.reopenLog()
	if same(p.program, programOf(p.program.path)) {
		return
	}
	go func() { // the handover ends the loop that called
		if _, err := p.upgrade(ctx, p.program.path); err != nil {
			p.log.Error("no handover to the changed program", "error", err)
		}
	}()
}

// program is a file as it was at some time.
type program struct {
	path string
	info os.FileInfo // nil: there was none
}

func programOf(path string) program {
	info, _ := os.Stat(path)
	return program{path, info}
}

// same says whether the file is still what it was.
func same(a, b program) bool {
	return b.info == nil || a.info == nil || os.SameFile(a.info, b.info) && a.info.Size() == b.info.Size() && a.info.ModTime().Equal(b.info.ModTime())
}

func (p *process) reopenLog() {
	if p.e.access == nil {
		return
	}
	if err := p.e.access.reopen(); err != nil {
		p.log.Error("access log does not open", "error", err)
	}
}
