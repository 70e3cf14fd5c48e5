package certs

import (
	"crypto/sha256"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	recheck = time.Second // how often a handshake looks whether files changed
	// young is how long after a change files are read again although they look the same: within one tick of the file system's
	// clock they can change twice.
	young = 3 * time.Second
)

// watched is a value read from files, and read again when they change. What does not parse leaves the last good value.
type watched[T any] struct {
	files []string
	parse func(contents [][]byte) (*T, error)
	now   func() time.Time
	log   func(*T, error) // a new value, or why there is none; once for each content

	value   atomic.Pointer[T]
	checked atomic.Int64 // Unix nanoseconds of the last look
	reason  atomic.Value // string: why the files as they are do not load; "" when they do

	mu    sync.Mutex // of what follows
	stamp string
	at    time.Time // of the newest change that the stamp tells of
	sum   [sha256.Size]byte
}

// open reads the files if that never succeeded.
func (w *watched[T]) open() error {
	if w.value.Load() != nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stamp, w.sum = "", [sha256.Size]byte{}
	return w.read()
}

// get is the value, after a look at the files at most once a second. It waits for no other who looks.
func (w *watched[T]) get() (*T, error) {
	now, last := w.now().UnixNano(), w.checked.Load()
	if now-last >= int64(recheck) || now < last {
		if w.checked.CompareAndSwap(last, now) && w.mu.TryLock() {
			_ = w.read() // it is logged, and kept in reason
			w.mu.Unlock()
		}
	}
	if v := w.value.Load(); v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("nothing could be loaded from %s: %s", w.files[0], w.why())
}

// why says why the files as they are do not load; "" when they do.
func (w *watched[T]) why() string {
	s, _ := w.reason.Load().(string)
	return s
}

// read looks at the files, and reads them when they changed. It is called with mu held.
func (w *watched[T]) read() error {
	stamp, at, err := stampOf(w.files)
	if err != nil {
		return w.lost(err)
	}
	if stamp == w.stamp && w.at.Sub(at) > young {
		return nil
	}
	contents := make([][]byte, len(w.files))
	hash := sha256.New()
	for i, name := range w.files {
		if contents[i], err = os.ReadFile(name); err != nil {
			return w.lost(err)
		}
		fmt.Fprintf(hash, "%d ", len(contents[i]))
		hash.Write(contents[i])
	}
	w.stamp, w.at = stamp, time.Now()
	sum := [sha256.Size]byte(hash.Sum(nil))
	if sum == w.sum {
		return nil
	}
	w.sum = sum
	value, err := w.parse(contents)
	if err != nil {
		return w.fail(err)
	}
	w.reason.Store("")
	w.value.Store(value)
	w.log(value, nil)
	return nil
}

// lost is fail for files that cannot be read: whatever comes back is read again.
func (w *watched[T]) lost(err error) error {
	w.stamp, w.sum = "", [sha256.Size]byte{}
	return w.fail(err)
}

// fail keeps the reason, and logs it when it is another one. The first failure is the caller's to tell.
func (w *watched[T]) fail(err error) error {
	if old := w.why(); old != err.Error() {
		w.reason.Store(err.Error())
		if w.value.Load() != nil {
			w.log(nil, err)
		}
	}
	return err
}

// stampOf changes when one of the files is replaced or written; at is when that was last.
func stampOf(files []string) (stamp string, at time.Time, err error) {
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return "", at, err
		}
		changed := info.ModTime()
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			changed = time.Unix(s.Ctim.Unix())
			stamp += fmt.Sprintf("%d:%d ", s.Dev, s.Ino)
		}
		stamp += fmt.Sprintf("%d %d %d;", info.Size(), info.ModTime().UnixNano(), changed.UnixNano())
		if changed.After(at) {
			at = changed
		}
	}
	return stamp, at, nil
}
