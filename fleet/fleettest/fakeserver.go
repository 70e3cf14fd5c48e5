package fleettest

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"

	"github.com/bootandshoot/release/fleet"
)

// fakeServer answers for a node of a serving Fake, as testnode does. A nil one does nothing.
type fakeServer struct{ http *http.Server }

func (s *fakeServer) close() {
	if s != nil {
		_ = s.http.Close()
	}
}

func nodeEnv(spec fleet.Spec) map[string]string {
	env := map[string]string{"IMAGE_ENV": "from-image"}
	maps.Copy(env, spec.Env)
	maps.Copy(env, spec.Secrets)
	env["PORT"] = strconv.Itoa(spec.Port)
	return env
}

// serve opens a node's listener; the lock is held.
func (f *Fake) serve(n *fakeNode) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	n.Address = l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello from "+n.ID.Node) })
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, nodeEnv(n.spec)[r.FormValue("name")])
	})
	mux.HandleFunc("/print", func(w http.ResponseWriter, r *http.Request) {
		stream := "out"
		if r.FormValue("to") == "err" {
			stream = "err"
		}
		f.Log(n.ID.Node, stream, r.FormValue("text"))
	})
	mux.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if kept := f.volumeAt(n, r.FormValue("path")); kept != nil {
			kept.files[r.FormValue("path")] = r.FormValue("text")
			return
		}
		n.files[r.FormValue("path")] = r.FormValue("text")
		n.differ(fleet.Change{What: fleet.ChangedFile, How: fleet.WasAdded, Path: r.FormValue("path")})
	})
	f.serveDrift(mux, n)
	mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		files := n.files
		if kept := f.volumeAt(n, r.FormValue("path")); kept != nil {
			files = kept.files
		}
		text, ok := files[r.FormValue("path")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, text)
	})
	mux.HandleFunc("/stubborn", func(w http.ResponseWriter, r *http.Request) { f.SetStubborn(n.ID.Node, true) })
	mux.HandleFunc("/exit", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		f.Kill(n.ID.Node, fleet.Exit{Code: code})
	})
	n.server = &fakeServer{&http.Server{Handler: mux}}
	go func() { _ = n.server.http.Serve(l) }()
	n.write(f.opts.Now(), "out", "listening on "+n.Address)
	return nil
}
