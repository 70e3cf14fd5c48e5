package consul

import (
	"bytes"
	"encoding/json"

	"github.com/klauspost/compress/zstd"

	"github.com/bootandshoot/release/internal/fault"
)

const (
	// worthPacking is the size from which values are compressed: shorter ones stay readable in Consul's own console.
	worthPacking = 4 << 10
	// maxValue bounds what a value may unpack to.
	maxValue = 64 << 20
)

// zstdMagic begins every compressed value, and no JSON. [RFC 8878, 3.1.1]
var zstdMagic = [4]byte{0x28, 0xb5, 0x2f, 0xfd}

// encode makes the bytes that are stored.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return pack(b)
}

func pack(b []byte) ([]byte, error) {
	if len(b) < worthPacking {
		return b, nil
	}
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	defer packer.Close()
	return packer.EncodeAll(b, nil), nil
}

// unpack gives the JSON of a stored value. Errors: fault.Failed for what is none.
func unpack(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, zstdMagic[:]) {
		return b, nil
	}
	unpacker, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxValue))
	if err != nil {
		return nil, err
	}
	defer unpacker.Close()
	out, err := unpacker.DecodeAll(b, nil)
	if err != nil {
		return nil, fault.New(fault.Failed, "the value is damaged: %w", err)
	}
	return out, nil
}

// decode reads a stored value into v.
func decode(b []byte, v any) error {
	b, err := unpack(b)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fault.New(fault.Failed, "the value is damaged, or not written by release: %w", err)
	}
	return nil
}
