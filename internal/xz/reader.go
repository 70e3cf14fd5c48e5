package xz

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	library "github.com/mikelolasagasti/xz"
)

const (
	headSize    = 12 // of a stream
	footSize    = 12
	inputBuffer = 64 << 10
)

var (
	headMagic = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	footMagic = []byte{'Y', 'Z'}
)

// sizes are what the index knows of a block.
type sizes struct{ packed, plain int64 }

// Reader gives the plain data of a file.
type Reader struct {
	src     *source
	dictMax int64
	flags   [2]byte // of the stream
	blocks  []sizes // of the stream, so far
	head    blockHead
	began   int64 // where the data of the block begins
	sum     check
	data    chunks
	open    bool // within a block
	err     error
	other   io.Reader // reads the whole file instead
}

// NewReader begins a file. A block may ask for a dictionary of dictMax bytes at most. It reads ahead of what it needs.
func NewReader(r io.Reader, dictMax uint32) (*Reader, error) {
	in := bufio.NewReaderSize(r, inputBuffer)
	z := &Reader{src: &source{r: in}, dictMax: int64(dictMax)}
	if otherFilters(in) {
		other, err := library.NewReader(in, dictMax)
		if err != nil {
			return nil, theirs(err)
		}
		z.other = other
		return z, nil
	}
	return z, z.stream()
}

// otherFilters reports whether the first block is one for the library.
func otherFilters(in *bufio.Reader) bool {
	raw, err := in.Peek(headSize + 1)
	if err != nil {
		return false
	}
	size := (int(raw[headSize]) + 1) * 4
	if raw, err = in.Peek(headSize + size); err != nil || size == 4 {
		return false
	}
	_, err = parseHead(raw[headSize:])
	return errors.Is(err, errFilter)
}

// theirs says an error of the library in the words of this package.
func theirs(err error) error {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case errors.Is(err, library.ErrMemlimit):
		return ErrMemory
	case errors.Is(err, library.ErrUnsupportedCheck), errors.Is(err, library.ErrOptions):
		return unsupported("%v", err)
	case errors.Is(err, library.ErrBuf):
		return io.ErrUnexpectedEOF
	case errors.Is(err, library.ErrFormat), errors.Is(err, library.ErrData):
		return damaged(err.Error())
	}
	return err
}

// Read implements io.Reader.
func (z *Reader) Read(p []byte) (int, error) {
	if z.other != nil {
		n, err := z.other.Read(p)
		return n, theirs(err)
	}
	for len(p) > 0 && z.data.unread() == 0 {
		if z.err == nil {
			z.err = z.step()
		}
		if z.err != nil {
			return 0, z.err
		}
	}
	return z.data.give(p), nil
}

// step decodes the next chunk, or passes over what lies between two blocks. It gives io.EOF at the end of the file.
func (z *Reader) step() error {
	if !z.open {
		return z.between()
	}
	err := z.data.next()
	if errors.Is(err, errEnd) {
		z.open = false
		return z.endBlock()
	}
	if err != nil {
		return err
	}
	if z.sum.Hash != nil {
		_, _ = z.sum.Write(z.data.plain()) // never fails
	}
	return nil
}

// stream reads the header of a stream.
func (z *Reader) stream() error {
	var raw [headSize]byte
	if err := z.src.fill(raw[:]); err != nil {
		return err
	}
	switch {
	case !bytes.HasPrefix(raw[:], headMagic):
		return damaged("it does not begin as a stream")
	case crc32.ChecksumIEEE(raw[6:8]) != binary.LittleEndian.Uint32(raw[8:]):
		return damaged("the header of a stream has another checksum")
	case raw[6] != 0 || raw[7] > 15:
		return unsupported("flags %x of a stream", raw[6:8])
	}
	z.flags, z.blocks = [2]byte(raw[6:8]), nil
	return nil
}

// between begins the next block, or ends the stream and begins the next.
func (z *Reader) between() error {
	at := z.src.n
	z.src.crc = 0
	n, err := z.src.ReadByte()
	if err != nil {
		return err
	}
	if n != 0 {
		return z.block(n)
	}
	if err := z.index(at); err != nil {
		return err
	}
	return z.nextStream()
}

func (z *Reader) block(n byte) error {
	raw := make([]byte, (int(n)+1)*4)
	raw[0] = n
	if err := z.src.fill(raw[1:]); err != nil {
		return err
	}
	var err error
	if z.head, err = parseHead(raw); err != nil {
		return err
	}
	if z.head.dict > z.dictMax {
		return ErrMemory
	}
	if z.sum, err = newCheck(z.flags[1]); err != nil {
		return err
	}
	z.open, z.began = true, z.src.n
	z.data.begin(z.src, int(z.head.dict))
	return nil
}

// endBlock holds the sizes and the check of a block against what it was.
func (z *Reader) endBlock() error {
	packed := z.src.n - z.began
	if h := z.head; h.packed >= 0 && h.packed != packed || h.plain >= 0 && h.plain != z.data.total {
		return damaged("a block has another size than its header says")
	}
	if err := z.src.zeros(packed); err != nil {
		return err
	}
	want := z.sum.bytes()
	got := make([]byte, len(want))
	if err := z.src.fill(got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return damaged("a block has another checksum")
	}
	z.blocks = append(z.blocks, sizes{z.head.size + packed + int64(len(want)), z.data.total})
	return nil
}

// index holds the index, which began at a byte, and the footer against the blocks.
func (z *Reader) index(at int64) error {
	count, err := varint(z.src)
	if err != nil {
		return err
	}
	if count != int64(len(z.blocks)) {
		return damaged("the index counts other blocks")
	}
	for _, b := range z.blocks {
		for _, want := range []int64{b.packed, b.plain} {
			n, err := varint(z.src)
			if err != nil {
				return err
			}
			if n != want {
				return damaged("the index has other sizes of blocks")
			}
		}
	}
	if err := z.src.zeros(z.src.n - at); err != nil {
		return err
	}
	crc := z.src.crc
	var raw [4 + footSize]byte
	if err := z.src.fill(raw[:]); err != nil {
		return err
	}
	foot := raw[4:]
	size := z.src.n - footSize - at
	switch {
	case crc != binary.LittleEndian.Uint32(raw[:]):
		return damaged("the index has another checksum")
	case !bytes.Equal(foot[10:], footMagic), crc32.ChecksumIEEE(foot[4:10]) != binary.LittleEndian.Uint32(foot):
		return damaged("the footer of a stream has another checksum")
	case [2]byte(foot[8:10]) != z.flags, (int64(binary.LittleEndian.Uint32(foot[4:]))+1)*4 != size:
		return damaged("the footer of a stream says otherwise than its header or index")
	}
	return nil
}

// nextStream begins what follows a stream; io.EOF when nothing does.
func (z *Reader) nextStream() error {
	for n := 0; ; n++ {
		next, err := z.src.r.Peek(1)
		if errors.Is(err, io.EOF) {
			if n%4 != 0 {
				return damaged("bytes that fill up are no multiple of 4")
			}
			return io.EOF
		}
		if err != nil {
			return err
		}
		if next[0] != 0 {
			if n%4 != 0 {
				return damaged("bytes that fill up are no multiple of 4")
			}
			return z.stream()
		}
		if _, err := z.src.ReadByte(); err != nil {
			return err
		}
	}
}
