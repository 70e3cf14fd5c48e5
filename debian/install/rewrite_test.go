package install

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"testing"
)

// store makes a Java key store of one certificate that was added at a time.
func store(date uint64) []byte {
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&b, binary.BigEndian, v)
		}
	}
	put(uint32(jksMagic), uint32(2), uint32(1), uint32(2), uint16(2), []byte("ca"), date, uint16(5), []byte("X.509"), uint32(3), []byte("der"))
	sum := sha1.New()
	for _, c := range "changeit" {
		sum.Write([]byte{0, byte(c)})
	}
	sum.Write([]byte("Mighty Aphrodite"))
	sum.Write(b.Bytes())
	return sum.Sum(b.Bytes())
}

func TestKeystoreDates(t *testing.T) {
	want := store(7000)
	for _, date := range []uint64{0, 1, 1 << 40} {
		if got := keystoreDates(store(date), nil, 7); !bytes.Equal(got, want) {
			t.Errorf("a store of %d became %x, want %x", date, got, want)
		}
	}
	for _, odd := range [][]byte{nil, []byte("PK"), store(1)[:30], append(store(1), 0)} {
		if got := keystoreDates(odd, nil, 7); !bytes.Equal(got, odd) {
			t.Errorf("%x became %x", odd, got)
		}
	}
}
