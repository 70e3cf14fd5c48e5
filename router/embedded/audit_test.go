package embedded

import (
	"fmt"
	"sync"
)

// audit knows which buffers are lent. What is given back is overwritten, so that whoever still reads it shows.
type audit struct {
	mu    sync.Mutex
	held  map[*[roomSize]byte]bool
	wrong string
}

func (a *audit) lent(p *[roomSize]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held == nil {
		a.held = map[*[roomSize]byte]bool{}
	}
	if a.held[p] {
		a.wrong = fmt.Sprintf("buffer %p was lent twice", p)
	}
	a.held[p] = true
}

func (a *audit) back(p *[roomSize]byte) {
	for i := range p {
		p[i] = '#'
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.held[p] {
		a.wrong = fmt.Sprintf("buffer %p was given back twice", p)
	}
	delete(a.held, p)
}

func (a *audit) out() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.held)
}

func (a *audit) bad() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wrong
}
