package console

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

// eventBatch is how many events are read from the store at a time.
const eventBatch = 500

// events streams the journal after a number or since a time, of some types or all, one JSON object a line; with follow until
// the client goes.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	after, err := strconv.ParseUint(orZero(q.Get("after")), 10, 64)
	if err != nil {
		return fault.New(fault.Invalid, "read after=%q: not a number", q.Get("after"))
	}
	since, err := timeOf(r, "since")
	if err != nil {
		return err
	}
	if !since.IsZero() {
		before, err := s.Orchestrator.EventsBefore(r.Context(), keyOf(r), since)
		if err != nil {
			return err
		}
		after = max(after, before)
	}
	out := newStream(w, "application/x-ndjson")
	for {
		changed := s.Orchestrator.Changed()
		events, err := s.Orchestrator.Events(r.Context(), keyOf(r), after, eventBatch)
		if err != nil {
			return out.fail(err)
		}
		for _, e := range events {
			after = e.Seq
			if !ofTypes(q["type"], e.Type) {
				continue
			}
			if err := out.json(eventOf(e)); err != nil {
				return nil // the client is gone
			}
		}
		out.flush()
		if len(events) == eventBatch {
			continue
		}
		if q.Get("follow") == "" {
			return nil
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return nil
		}
	}
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

// logs streams a node's output as the driver gives it.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) error {
	opts, err := logOptions(r)
	if err != nil {
		return err
	}
	lines, err := s.Orchestrator.Logs(r.Context(), keyOf(r), r.PathValue("node"), opts)
	if err != nil {
		return err
	}
	defer lines.Close()
	out := newStream(w, "text/plain; charset=utf-8")
	out.flush()
	_, _ = io.Copy(out, lines) // ends with the node, the client or the agent
	return nil
}

// files streams a file or folder of a node as a tar archive. One that is not whole ends the connection.
func (s *Server) files(w http.ResponseWriter, r *http.Request) error {
	archive, err := s.Orchestrator.CopyOut(r.Context(), keyOf(r), r.PathValue("node"), r.URL.Query().Get("path"))
	if err != nil {
		return err
	}
	defer archive.Close()
	out := newStream(w, "application/x-tar")
	out.flush()
	if _, err := io.Copy(w, archive); err != nil {
		s.Log.Warn("copy out of a node", "node", r.PathValue("node"), "path", r.URL.Query().Get("path"), "error", err)
		return out.fail(err)
	}
	return nil
}

func logOptions(r *http.Request) (orchestrator.LogOptions, error) {
	q := r.URL.Query()
	tail, err := strconv.Atoi(orZero(q.Get("tail")))
	if err != nil || tail < 0 {
		return orchestrator.LogOptions{}, fault.New(fault.Invalid, "read tail=%q: not a number of lines", q.Get("tail"))
	}
	opts := orchestrator.LogOptions{Tail: tail, Follow: q.Get("follow") != ""}
	if since := q.Get("since"); since != "" {
		if opts.Since, err = time.Parse(time.RFC3339Nano, since); err != nil {
			return opts, fault.New(fault.Invalid, "read since=%q: not a time such as 2006-01-02T15:04:05Z", since)
		}
	}
	return opts, nil
}

// stream is an answer that is sent as it is written.
type stream struct {
	w       http.ResponseWriter
	enc     *json.Encoder
	kind    string
	started bool
}

func newStream(w http.ResponseWriter, kind string) *stream {
	return &stream{w: w, enc: json.NewEncoder(w), kind: kind}
}

func (s *stream) start() {
	if !s.started {
		s.started = true
		s.w.Header().Set("Content-Type", s.kind)
		s.w.WriteHeader(http.StatusOK)
	}
}

func (s *stream) json(v any) error {
	s.start()
	return s.enc.Encode(v)
}

// Write sends p at once.
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.flush()
	return n, err
}

func (s *stream) flush() {
	s.start()
	_ = http.NewResponseController(s.w).Flush()
}

// fail gives err to the handler while nothing is sent; later the connection is broken, so that the client sees that
// the stream is not whole.
func (s *stream) fail(err error) error {
	if !s.started {
		return err
	}
	panic(http.ErrAbortHandler)
}
