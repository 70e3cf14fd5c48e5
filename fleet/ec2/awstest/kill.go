package awstest

import (
	"errors"
	"net/http"
	"sync"
)

// ErrKilled is what a client is told whose process is dead.
var ErrKilled = errors.New("awstest: killed")

// Killer is an HTTP client that dies at its At-th request, as its process would: before the request is sent, or with After
// when it was carried out and nobody read the answer. All later requests fail and are not sent. It works before any endpoint.
type Killer struct {
	At    int
	After bool
	Next  interface {
		Do(*http.Request) (*http.Response, error)
	} // nil: http.DefaultClient

	mu   sync.Mutex
	sent int
	dead bool
}

// Do is one request.
func (k *Killer) Do(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	if k.dead {
		k.mu.Unlock()
		return nil, ErrKilled
	}
	k.sent++
	dies := k.sent == k.At
	k.dead = dies
	k.mu.Unlock()
	if dies && !k.After {
		return nil, ErrKilled
	}
	next := k.Next
	if next == nil {
		next = http.DefaultClient
	}
	answer, err := next.Do(r)
	if err == nil && dies {
		_ = answer.Body.Close()
		return nil, ErrKilled
	}
	return answer, err
}

// Dead is whether the client died: false at the end of a run means that the run has fewer requests.
func (k *Killer) Dead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dead
}
