package images

import (
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

func (v *verifier) verify(want Digest) error {
	if got := digestFromSum(v.hash.Sum(nil)); got != want {
		return damaged(want, got)
	}
	return nil
}
