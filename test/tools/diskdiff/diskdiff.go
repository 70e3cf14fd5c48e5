// Package diskdiff counts what of a disk would be uploaded to EC2 where an earlier one is.
package diskdiff

import (
	"bytes"
	"errors"
	"io"
)

// block is what EC2 stores as a whole, in bytes (fleet/ec2/ami.BlockSize).
const block = 512 << 10

// Count counts the blocks of a disk that are not zero, and those of them that another disk has not at the same place.
func Count(before, now io.ReaderAt) (changed, all int, err error) {
	old, b, zero := make([]byte, block), make([]byte, block), make([]byte, block)
	for at := int64(0); ; at += block {
		n, err := now.ReadAt(b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		if n == 0 {
			return changed, all, nil
		}
		clear(old)
		if _, err := before.ReadAt(old[:n], at); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		if bytes.Equal(b[:n], zero[:n]) {
			continue
		}
		all++
		if !bytes.Equal(b[:n], old[:n]) {
			changed++
		}
	}
}
