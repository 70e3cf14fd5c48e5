package images

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
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

func (v *verifier) digest() Digest { return digestFromSum(v.hash.Sum(nil)) }

// CheckBlob reads a blob and compares it with its digest and size. A damaged one is ErrDamaged and fault.Failed, a missing one
// fault.NotFound.
func (s *Store) CheckBlob(ctx context.Context, d Descriptor) error {
	r, err := s.OpenVerified(d)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.CopyBuffer(io.Discard, onlyReader{contextReader{ctx, r}}, make([]byte, copyBuffer))
	return err
}
