package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"slices"
)

// The file of a layer's facts: the line factsMagic, the layer's digest (32 bytes), the number of entries, the entries,
// and the SHA-256 of all that. Numbers are varints of encoding/binary; a text is its length and its bytes. An entry:
//
//	shared, text      path: so many bytes of the path before it, and the rest
//	type mode uid gid numbers
//	File              size, offset+1, 32 bytes of SHA-256
//	Symlink, HardLink text of the target
//	devices           major, minor
//	number            of extended attributes, each two texts, by name
const factsMagic = "release layer facts 1\n"

var errFacts = errors.New("read layer facts: damaged, or of another version")

func encodeFacts(f LayerFacts) []byte {
	b := make([]byte, 0, 64+96*len(f.Entries))
	b = append(b, factsMagic...)
	b = appendDigest(b, f.Layer)
	b = binary.AppendUvarint(b, uint64(len(f.Entries)))
	before := ""
	for _, e := range f.Entries {
		b = appendEntry(b, e, before)
		before = e.Path
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func appendEntry(b []byte, e FileFacts, before string) []byte {
	shared := sharedPrefix(before, e.Path)
	b = binary.AppendUvarint(b, uint64(shared))
	b = appendText(b, e.Path[shared:])
	for _, n := range []int64{int64(e.Type), int64(e.Mode), int64(e.UID), int64(e.GID)} {
		b = binary.AppendVarint(b, n)
	}
	switch e.Type {
	case File:
		b = binary.AppendVarint(b, e.Size)
		b = binary.AppendVarint(b, e.Offset+1)
		b = appendDigest(b, e.Content)
	case Symlink, HardLink:
		b = appendText(b, e.Link)
	case CharDevice, BlockDevice:
		b = binary.AppendVarint(b, e.Major)
		b = binary.AppendVarint(b, e.Minor)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		b = appendText(appendText(b, name), e.Xattrs[name])
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendDigest(b []byte, d Digest) []byte {
	sum, err := hex.DecodeString(d.Hex())
	if err != nil || len(sum) != sha256.Size {
		sum = make([]byte, sha256.Size)
	}
	return append(b, sum...)
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func decodeFacts(data []byte) (LayerFacts, error) {
	body, ok := bytes.CutPrefix(data, []byte(factsMagic))
	if !ok || len(body) < 2*sha256.Size {
		return LayerFacts{}, errFacts
	}
	end := len(data) - sha256.Size
	if sum := sha256.Sum256(data[:end]); !bytes.Equal(sum[:], data[end:]) {
		return LayerFacts{}, errFacts
	}
	r := factsReader{rest: body[:len(body)-sha256.Size]}
	f := LayerFacts{Layer: r.digest()}
	n := r.count()
	f.Entries = make([]FileFacts, 0, min(n, len(r.rest)/8+1))
	before := ""
	for range n {
		if r.bad {
			break
		}
		f.Entries = append(f.Entries, r.entry(before))
		before = f.Entries[len(f.Entries)-1].Path
	}
	if r.bad || len(r.rest) > 0 {
		return LayerFacts{}, errFacts
	}
	return f, nil
}

// factsReader takes a file apart; after something that does not fit it is bad and gives zeros.
type factsReader struct {
	rest []byte
	bad  bool
}

func (r *factsReader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *factsReader) count() int {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > math.MaxInt32 {
		r.bad = true
		return 0
	}
	r.take(size)
	return int(n)
}

func (r *factsReader) number() int64 {
	n, size := binary.Varint(r.rest)
	if size <= 0 {
		r.bad = true
		return 0
	}
	r.take(size)
	return n
}

func (r *factsReader) text() string { return string(r.take(r.count())) }

func (r *factsReader) digest() Digest {
	sum := r.take(sha256.Size)
	if sum == nil {
		return ""
	}
	return digestFromSum(sum)
}

func (r *factsReader) entry(before string) FileFacts {
	var e FileFacts
	shared := r.count()
	if shared > len(before) {
		r.bad = true
		return e
	}
	e.Path = before[:shared] + r.text()
	e.Type, e.Mode = EntryType(r.number()), uint32(r.number())
	e.UID, e.GID = int(r.number()), int(r.number())
	switch e.Type {
	case File:
		e.Size, e.Offset = r.number(), r.number()-1
		e.Content = r.digest()
	case Symlink, HardLink:
		e.Link = r.text()
	case CharDevice, BlockDevice:
		e.Major, e.Minor = r.number(), r.number()
	}
	for range r.count() {
		if r.bad {
			break
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		name := r.text()
		e.Xattrs[name] = r.text()
	}
	return e
}
