package consul

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/bootandshoot/release/internal/fault"
)

const (
	// format is the version of the head line of values.
	format = "1"
	plain  = "plain"
	packed = "zstd"
	// worthPacking is the size from which values are compressed: shorter ones hardly shrink, and stay readable in Consul's
	// own console.
	worthPacking = 1 << 10
	// maxValue bounds what a value may unpack to.
	maxValue = 64 << 20
	// commitBytes is the length of a commit's number.
	commitBytes = 16
)

// newCommit draws the number of a commit.
func newCommit() string {
	b := make([]byte, commitBytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// codec turns values into what is stored, and back. It may be used from many goroutines.
type codec struct {
	packer   *zstd.Encoder
	unpacker *zstd.Decoder
}

func newCodec() (*codec, error) {
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxValue))
	return &codec{packer: packer, unpacker: unpacker}, err
}

// encode makes the bytes that are stored.
func (c *codec) encode(commit string, value []byte) []byte {
	if len(value) >= worthPacking {
		if small := c.packer.EncodeAll(value, nil); len(small) < len(value) {
			return join(commit, packed, small)
		}
	}
	return join(commit, plain, value)
}

func join(commit, encoding string, value []byte) []byte {
	return append([]byte(format+" "+commit+" "+encoding+"\n"), value...)
}

// decode reads them back. Errors: fault.Unsupported for a newer format, fault.Failed for what is none.
func (c *codec) decode(raw []byte) (commit string, value []byte, err error) {
	head, value, found := bytes.Cut(raw, []byte("\n"))
	parts := strings.Split(string(head), " ")
	if !found || len(parts) != 3 || len(parts[1]) != 2*commitBytes {
		return "", nil, fault.New(fault.Failed, "the value is damaged, or not written by release")
	}
	if parts[0] != format {
		return "", nil, fault.New(fault.Unsupported, "the value has format %.10q and this program knows %s", parts[0], format).
			WithHint("a newer release wrote it: use that one")
	}
	switch parts[2] {
	case plain:
		return parts[1], value, nil
	case packed:
		if value, err = c.unpacker.DecodeAll(value, []byte{}); err != nil {
			return "", nil, fault.New(fault.Failed, "the value is damaged: %w", err)
		}
		return parts[1], value, nil
	}
	return "", nil, fault.New(fault.Failed, "the value is damaged: unknown encoding %.20q", parts[2])
}
