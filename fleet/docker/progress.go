package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/fleet"
)

// message is one of the engine's stream about a pull or a load.
type message struct {
	ID       string `json:"id"` // of a layer: the beginning of its digest
	Status   string `json:"status"`
	Progress struct {
		Current int64  `json:"current"`
		Units   string `json:"units"` // bytes when empty
	} `json:"progressDetail"`
	Error  string `json:"error"`
	Detail struct {
		Message string `json:"message"`
	} `json:"errorDetail"`
}

// messages reads the engine's stream to its end and returns the error in it, if there is one.
func messages(body io.Reader, c *carriage) error {
	for dec := json.NewDecoder(body); ; {
		var m message
		switch err := dec.Decode(&m); {
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("read the engine's progress: %w", err)
		case m.Detail.Message != "":
			return errors.New(m.Detail.Message)
		case m.Error != "":
			return errors.New(m.Error)
		}
		c.hear(m)
	}
}

// carriage counts how far an image is on its way to the engine: each layer moves there and is unpacked there, and has as many
// bytes in both, since ours are not compressed. What is counted never goes back, also when the way is tried again. A nil one
// counts nothing.
type carriage struct {
	report func(fleet.Progress)

	mu     sync.Mutex
	doing  string
	layers map[string]*carried // by the beginning of their digests
	total  int64
	told   int64
}

// carried is one layer, in bytes.
type carried struct{ size, moved, unpacked int64 }

// carrying is the carriage of an image; nil when nobody is told, or nothing is known of its layers.
func carrying(m *ocispec.Manifest, report func(fleet.Progress)) *carriage {
	if m == nil || report == nil {
		return nil
	}
	c := &carriage{report: report, layers: map[string]*carried{}}
	for _, l := range m.Layers {
		if key := short(l.Digest.String()); c.layers[key] == nil {
			c.layers[key] = &carried{size: l.Size}
			c.total += 2 * l.Size
		}
	}
	return c
}

// begin says what is done from now on.
func (c *carriage) begin(doing string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doing = doing
	c.tell(c.told)
}

// hear takes a message of the engine's. The words are those of pulls and loads since Docker 1.10; others say nothing.
func (c *carriage) hear(m message) {
	if m.Progress.Units != "" {
		return // an engine that counts seconds
	}
	c.count(m.ID, func(l *carried) {
		switch m.Status {
		case "Downloading":
			l.moved = m.Progress.Current
		case "Download complete":
			l.moved = l.size
		case "Extracting", "Loading layer":
			l.moved, l.unpacked = l.size, m.Progress.Current
		case "Pull complete", "Already exists":
			l.moved, l.unpacked = l.size, l.size
		}
	})
}

// sent counts bytes of a layer on the way to the engine.
func (c *carriage) sent(layer string, n int) {
	c.count(short(layer), func(l *carried) { l.moved += int64(n) })
}

// there takes layers that the engine has.
func (c *carriage) there(layers []ocispec.Descriptor) {
	for _, l := range layers {
		c.count(short(l.Digest.String()), func(l *carried) { l.moved, l.unpacked = l.size, l.size })
	}
}

// arrived tells the end.
func (c *carriage) arrived() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell(c.total)
}

func (c *carriage) count(layer string, change func(*carried)) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.layers[layer]
	if l == nil {
		return
	}
	change(l)
	var done int64
	for _, l := range c.layers {
		done += min(l.moved, l.size) + min(l.unpacked, l.size)
	}
	if done > c.told {
		c.tell(done)
	}
}

func (c *carriage) tell(done int64) {
	c.told = done
	c.report(fleet.Progress{Doing: c.doing, Done: done, Total: c.total})
}

// reader counts what is read of a layer.
func (c *carriage) reader(layer string, r io.Reader) io.Reader {
	return io.TeeReader(r, sending{c, layer})
}

// sending is where the bytes of a layer are counted.
type sending struct {
	c     *carriage
	layer string
}

// Write implements io.Writer.
func (s sending) Write(p []byte) (int, error) {
	s.c.sent(s.layer, len(p))
	return len(p), nil
}
