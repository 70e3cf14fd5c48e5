package consul

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/hashicorp/consul/api"
)

// slots are the marks of a client: each is used by one commit at a time. The zero value is ready.
type slots struct {
	mu   sync.Mutex
	free []int
	made int
}

func (s *slots) take() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		slot := s.free[n-1]
		s.free = s.free[:n-1]
		return slot
	}
	s.made++
	return s.made - 1
}

func (s *slots) give(slot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, slot)
	slices.SortFunc(s.free, func(a, b int) int { return b - a }) // the lowest is taken first
}

func (s *Store) slotKey(slot int) string {
	return s.key(fmt.Sprintf("commits/%s/%d", s.opts.Client, slot))
}

// forget removes the marks: their commits have all been answered.
func (s *Store) forget(ctx context.Context) error {
	if s.slots.made == 0 {
		return nil
	}
	_, err := s.client.KV().DeleteTree(s.key("commits/"+s.opts.Client+"/"), (&api.WriteOptions{}).WithContext(ctx))
	return s.explain(err)
}
