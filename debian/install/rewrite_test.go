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

func TestDatabaseID(t *testing.T) {
	const page = 4096
	file := func(id byte) []byte {
		data := make([]byte, 3*page)
		for _, at := range []int{0, 2 * page} {
			binary.LittleEndian.PutUint32(data[at+dbMagicAt:], dbHash)
			binary.LittleEndian.PutUint32(data[at+dbPageAt:], page)
			copy(data[at+dbUIDAt:], bytes.Repeat([]byte{id}, dbUIDSize))
		}
		data[page+100] = 42
		return data
	}
	if got := databaseID(file(1), nil, 0); !bytes.Equal(got, file(0)) {
		t.Error("an identity is left")
	}
	for _, odd := range [][]byte{nil, []byte("text"), make([]byte, page)} {
		if got := databaseID(odd, nil, 0); !bytes.Equal(got, odd) {
			t.Errorf("%d odd bytes changed", len(odd))
		}
	}
}
