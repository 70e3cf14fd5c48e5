package console

import (
	"encoding/json"
	"net/http"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/orchestrator"
)

// handler answers one request, or returns an error before it has written anything.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle gives a handler's error to the client.
func (s *Server) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil || r.Context().Err() != nil {
			return
		}
		if fault.Is(err, fault.Internal) {
			s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		}
		writeJSON(w, httpStatus(fault.CodeOf(err)), api.Failed{Error: api.ErrorOf(err)})
	})
}

// httpStatus is the HTTP status of an error's class; clients read the class itself from the body.
func httpStatus(c fault.Code) int {
	switch c {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Denied:
		return http.StatusForbidden
	case fault.Busy, fault.Exists, fault.Held, fault.Conflict:
		return http.StatusConflict
	case fault.Unsupported:
		return http.StatusNotImplemented
	case fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.NoSpace:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

func answer(w http.ResponseWriter, v any) error {
	writeJSON(w, http.StatusOK, v)
	return nil
}

// maxBody bounds a JSON request.
const maxBody = 4 << 20

func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fault.New(fault.Invalid, "read request %s %s: %w", r.Method, r.URL.Path, err)
	}
	return nil
}

// ofApp lets only names of apps and environments through: they are parts of paths and of keys in the store.
func ofApp(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := keyOf(r).Check(); err != nil {
			return err
		}
		return h(w, r)
	}
}

func keyOf(r *http.Request) orchestrator.Key {
	return orchestrator.Key{App: r.PathValue("app"), Env: r.PathValue("env")}
}
