package disk

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// window is a part of a new file, from base on, for one who writes it mostly in order. What is zero is not written as long as
// nothing was written there or behind, so the file stays sparse.
type window struct {
	file  *os.File
	base  int64
	at    int64
	mark  int64 // nothing is written at or behind it
	total int64 // the highest end of a write
}

var zeros [blockSize]byte

// Write writes in pieces that end at full blocks.
func (w *window) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		zero := w.zeroRun(p[done:])
		n := w.dataRun(p[done+zero:])
		if n > 0 {
			if _, err := w.file.WriteAt(p[done+zero:done+zero+n], w.base+w.at+int64(zero)); err != nil {
				return done, err
			}
			w.mark = max(w.mark, w.at+int64(zero+n))
		}
		w.at += int64(zero + n)
		done += zero + n
	}
	if done > 0 {
		w.total = max(w.total, w.at)
	}
	return done, nil
}

// zeroRun is how many bytes at the beginning of p need not be written.
func (w *window) zeroRun(p []byte) int {
	n := 0
	for at := w.at; n < len(p) && at+int64(n) >= w.mark; {
		piece := min(blockSize-int(at+int64(n))%blockSize, len(p)-n)
		if !bytes.Equal(p[n:n+piece], zeros[:piece]) {
			break
		}
		n += piece
	}
	return n
}

// dataRun is how many bytes at the beginning of p are written together: up to the next whole block of zeros.
func (w *window) dataRun(p []byte) int {
	n := min(blockSize-int(w.at)%blockSize, len(p))
	for n < len(p) {
		piece := min(blockSize, len(p)-n)
		if bytes.Equal(p[n:n+piece], zeros[:piece]) {
			break
		}
		n += piece
	}
	return n
}

// Read reads what was written.
func (w *window) Read(p []byte) (int, error) {
	if w.at >= w.total {
		return 0, io.EOF
	}
	n, err := w.file.ReadAt(p[:min(int64(len(p)), w.total-w.at)], w.base+w.at)
	w.at += int64(n)
	return n, err
}

// Seek moves within the window; its end is the highest end of a write.
func (w *window) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += w.at
	case io.SeekEnd:
		offset += w.total
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning of a partition")
	}
	w.at = offset
	return offset, nil
}
