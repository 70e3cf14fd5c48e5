package images

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Digest names content: "sha256:" and 64 lower-case hexadecimal digits.
type Digest string

const digestPrefix = "sha256:"

// ParseDigest checks s and returns it as a Digest; the error is fault.Invalid.
func ParseDigest(s string) (Digest, error) {
	d := Digest(s)
	if !d.Valid() {
		return "", fault.New(fault.Invalid, "read digest %q: want sha256: and 64 hexadecimal digits", s)
	}
	return d, nil
}

// DigestOf is the digest of data.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return digestFromSum(sum[:])
}

func digestFromSum(sum []byte) Digest { return Digest(digestPrefix + hex.EncodeToString(sum)) }

// Valid reports whether d is well-formed.
func (d Digest) Valid() bool {
	h, ok := strings.CutPrefix(string(d), digestPrefix)
	return ok && len(h) == 2*sha256.Size && isHex(h)
}

// Hex is the digits without the algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// Short is the first twelve digits, for people.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

func isHex(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
