package machinechannel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// However the bytes are cut, each stream gets those between its mark and the next.
func TestLineSorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent []byte
		var want []string
		for range rapid.IntRange(1, 4).Draw(t, "streams") {
			sent = append(append(sent, mark[:]...), rapid.SliceOfN(rapid.Byte(), markSize, markSize).Draw(t, "nonce")...)
			piece := rapid.SliceOfN(rapid.SampledFrom([]byte{mark[0], mark[1], mark[2], 'x'}), 0, 40).Draw(t, "piece")
			sent, want = append(sent, piece...), append(want, string(piece))
		}
		sent = append(sent, "end of the line, longer than a mark"...)
		want[len(want)-1] += "end of the line, longer than a mark"
		var mu sync.Mutex
		var got []*bytes.Buffer
		var group sync.WaitGroup
		group.Add(len(want))
		in := &pieces{data: sent, size: rapid.IntRange(1, 50).Draw(t, "size")}
		_ = accept(context.Background(), in, func(conn net.Conn) {
			defer group.Done()
			b := &bytes.Buffer{}
			mu.Lock()
			got = append(got, b)
			mu.Unlock()
			_, _ = io.Copy(b, conn)
		})
		group.Wait()
		var texts []string
		for _, b := range got {
			texts = append(texts, b.String())
		}
		for _, w := range want {
			if !slices.ContainsFunc(texts, func(got string) bool {
				rest, ok := strings.CutPrefix(got, w)
				return ok && strings.HasPrefix(string(mark[:markSize-1]), rest)
			}) {
				t.Fatalf("%q is missing in %q", w, texts)
			}
		}
	})
}

// Nothing waits for what may never come: whatever a question ends with, it arrives.
func TestLineHoldsNothingBack(t *testing.T) {
	for n := range markSize {
		ours, theirs := net.Pipe()
		got := make(chan string, 1)
		go func() {
			_ = accept(t.Context(), theirs, func(conn net.Conn) {
				b := make([]byte, 8+n)
				_, _ = io.ReadFull(conn, b)
				got <- string(b)
			})
		}()
		head := append(mark[:], make([]byte, markSize)...)
		if _, err := ours.Write(head); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(ours, head); err != nil {
			t.Fatal(err)
		}
		question := "question" + string(mark[:n])
		if _, err := ours.Write([]byte(question)); err != nil {
			t.Fatal(err)
		}
		select {
		case text := <-got:
			if text != question {
				t.Errorf("%q came as %q", question, text)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("a question that ends in %d bytes of a mark does not arrive", n)
		}
		_ = ours.Close()
	}
}

// pieces is a port that gives so many bytes at a time, and then fails.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, errors.New("unplugged")
	}
	n := copy(b, p.data[:min(p.size, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

func (p *pieces) Write(b []byte) (int, error) { return len(b), nil }
