package images

import (
	"crypto/sha256"
	"hash"
	"io"

	"github.com/bootandshoot/release/internal/fault"
)

// verifier hashes what is read through it.
type verifier struct {
	r    io.Reader
	hash hash.Hash
}

func newVerifier(r io.Reader) *verifier { return &verifier{r: r, hash: sha256.New()} }

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	return n, err
}

func (v *verifier) verify(want Digest) error {
	if got := digestFromSum(v.hash.Sum(nil)); got != want {
		return damaged(want, got)
	}
	return nil
}

// CheckBlob reads a blob and compares it with its digest and size. A damaged one is fault.Failed, a missing one
// fault.NotFound.
func (s *Store) CheckBlob(d Descriptor) error {
	f, err := s.OpenBlob(d.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	v := newVerifier(f)
	n, err := io.CopyBuffer(io.Discard, onlyReader{v}, make([]byte, copyBuffer))
	if err != nil {
		return err
	}
	if err := v.verify(d.Digest); err != nil {
		return err
	}
	if d.Size >= 0 && n != d.Size {
		return fault.New(fault.Failed, "read blob %s: it has %d bytes, its manifest says %d", d.Digest, n, d.Size)
	}
	return nil
}
