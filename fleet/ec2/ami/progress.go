package ami

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// written is the record of what a snapshot has already: the first line is the snapshot's id, then for each block that AWS
// acknowledged 8 bytes, big-endian: its index, and the CRC-32C of the id and the index. It is appended to without a sync: what is
// lost with it is sent again, and an entry that was not written whole does not have its checksum.
type written struct {
	mu   sync.Mutex
	f    *os.File
	id   string
	done map[int]bool
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *Store) writtenFile(digest string) string {
	return filepath.Join(s.opts.Dir, fileDigest(digest)+"."+s.region+".written")
}

// openWritten reads the record of a snapshot of a disk; one of another snapshot is begun anew.
func (s *Store) openWritten(digest, id string) (*written, error) {
	path := s.writtenFile(digest)
	w := &written{id: id, done: map[int]bool{}}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what was uploaded: %w", err)
	}
	head := id + "\n"
	whole := 0 // bytes that are as they should be
	if len(old) >= len(head) && string(old[:len(head)]) == head {
		whole = len(head)
		for ; whole+8 <= len(old); whole += 8 {
			index := int(binary.BigEndian.Uint32(old[whole:]))
			if string(w.entry(index)) != string(old[whole:whole+8]) {
				break
			}
			w.done[index] = true
		}
	}
	w.f, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("record what is uploaded: %w", err)
	}
	if err := w.begin(head, int64(whole)); err != nil {
		_ = w.f.Close()
		return nil, fmt.Errorf("record what is uploaded: %w", err)
	}
	return w, nil
}

// begin cuts off what is not whole and stands at the end.
func (w *written) begin(head string, whole int64) error {
	if err := w.f.Truncate(whole); err != nil {
		return err
	}
	if _, err := w.f.Seek(whole, 0); err != nil {
		return err
	}
	if whole > 0 {
		return nil
	}
	_, err := w.f.WriteString(head)
	return err
}

func (w *written) entry(index int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(index))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(append([]byte(w.id), b...), castagnoli))
}

// add notes that a block is there, and gives how many are.
func (w *written) add(index int) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done[index] = true
	if _, err := w.f.Write(w.entry(index)); err != nil {
		return 0, fmt.Errorf("record what is uploaded: %w", err)
	}
	return len(w.done), nil
}

func (w *written) close() { _ = w.f.Close() } // nothing depends on it
