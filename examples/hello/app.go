package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/websocket"
)

// maxSlow bounds what /slow waits.
const maxSlow = time.Minute

type app struct {
	version, node string
	sick          atomic.Bool // /healthz fails
	broken        atomic.Bool // / fails too
	failEvery     uint64      // every so manieth answer of / is an error; 0: none
	asked         atomic.Uint64
	exit          func(code int)
}

func newApp(version, node string) *app {
	return &app{version: version, node: node, exit: os.Exit}
}

// handler marks every answer with the version and the node that gave it.
func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", a.hello)
	mux.HandleFunc("/healthz", a.health)
	mux.HandleFunc("/slow", a.slow)
	mux.HandleFunc("/fail", a.fail)
	mux.HandleFunc("/exit", a.leave)
	mux.HandleFunc("/of/{role}", a.other)
	mux.Handle("/ws", websocket.Server{Handler: func(conn *websocket.Conn) { _, _ = io.Copy(conn, conn) }})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Hello-Version", a.version)
		w.Header().Set("X-Hello-Node", a.node)
		mux.ServeHTTP(w, r)
	})
}

func (a *app) hello(w http.ResponseWriter, _ *http.Request) {
	if a.broken.Load() || a.failEvery > 0 && a.asked.Add(1)%a.failEvery == 0 {
		http.Error(w, "told to fail", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "hello %s from %s\n", a.version, a.node)
}

func (a *app) health(w http.ResponseWriter, _ *http.Request) {
	if a.sick.Load() {
		http.Error(w, "told to fail", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// slow answers after ?ms= milliseconds.
func (a *app) slow(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(orDefault(r.FormValue("ms"), "1000"))
	wait := time.Duration(ms) * time.Millisecond
	if err != nil || wait < 0 || wait > maxSlow {
		http.Error(w, "ms must be a number from 0 to 60000", http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(wait):
		fmt.Fprintf(w, "hello %s from %s after %s\n", a.version, a.node, wait)
	case <-r.Context().Done():
	}
}

// fail switches this node's health off with ?on=1 and on with ?on=0; with &all=1 also its front page.
func (a *app) fail(w http.ResponseWriter, r *http.Request) {
	on, err := strconv.ParseBool(r.FormValue("on"))
	if err != nil {
		http.Error(w, "say ?on=1 or ?on=0", http.StatusBadRequest)
		return
	}
	all, _ := strconv.ParseBool(r.FormValue("all"))
	a.sick.Store(on)
	a.broken.Store(on && all)
	fmt.Fprintf(w, "failing: %t\n", on)
}

// other passes on what another role of the app says, which release has told us the address of.
func (a *app) other(w http.ResponseWriter, r *http.Request) {
	name := "RELEASE_ADDR_" + strings.ToUpper(strings.ReplaceAll(r.PathValue("role"), "-", "_"))
	address := os.Getenv(name)
	if address == "" {
		http.Error(w, "no "+name, http.StatusNotFound)
		return
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// leave ends this node's process at once with ?code=.
func (a *app) leave(w http.ResponseWriter, r *http.Request) {
	code, err := strconv.Atoi(orDefault(r.FormValue("code"), "1"))
	if err != nil || code < 0 || code > 255 {
		http.Error(w, "code must be a number from 0 to 255", http.StatusBadRequest)
		return
	}
	a.exit(code)
}
