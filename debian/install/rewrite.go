package install

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"unicode/utf16"
)

// jksMagic begins a Java key store of the type JKS.
const jksMagic = 0xfeedfeed

// keystoreDates gives the certificates of a Java key store the time of the epoch. The form is that of JavaKeyStore.java of
// OpenJDK: magic, version and count, then for each trusted certificate the tag 2, its alias, a date in milliseconds,
// its type and its bytes; at the end a SHA-1 over the password, a fixed phrase and all before it. A store of another form
// stays as it is.
func keystoreDates(data, _ []byte, epoch int64) []byte {
	const password, phrase = "changeit", "Mighty Aphrodite" // the password that Debian's package sets for all
	out := bytes.Clone(data)
	r := &cursor{data: out}
	if r.number(4) != jksMagic || r.number(4) != 2 {
		return data
	}
	for count := r.number(4); count > 0; count-- {
		if r.number(4) != 2 {
			return data // a private key: its protection covers more than the date
		}
		r.skip(r.number(2)) // alias
		if date := r.skip(8); date != nil {
			binary.BigEndian.PutUint64(date, uint64(epoch)*1000)
		}
		r.skip(r.number(2)) // type
		r.skip(r.number(4)) // certificate
	}
	if r.bad || len(out)-r.at != sha1.Size {
		return data
	}
	sum := sha1.New()
	for _, c := range utf16.Encode([]rune(password)) {
		_ = binary.Write(sum, binary.BigEndian, c)
	}
	sum.Write([]byte(phrase))
	sum.Write(out[:r.at])
	copy(out[r.at:], sum.Sum(nil))
	return out
}

// cursor reads big-endian numbers and passes over bytes; bad says that there were too few.
type cursor struct {
	data []byte
	at   int
	bad  bool
}

func (c *cursor) skip(n int) []byte {
	if c.bad || n < 0 || n > len(c.data)-c.at {
		c.bad = true
		return nil
	}
	part := c.data[c.at : c.at+n]
	c.at += n
	return part
}

func (c *cursor) number(size int) int {
	n := 0
	for _, b := range c.skip(size) {
		n = n<<8 | int(b)
	}
	return n
}
