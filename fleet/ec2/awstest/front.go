package awstest

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// front is a listener that serves users: it obeys the rules as they are at each request.
type front struct {
	server   *Server
	region   *region
	listener *listener
	http     *http.Server
	onward   *http.Transport
	turns    map[string]int // by target group: how far behind its share it is; guarded by the server's lock
}

// serve listens until the listener is deleted or the server closed. The caller holds the server's lock.
func (s *Server) serve(r *region, l *listener, address string) (*front, error) {
	in, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	f := &front{server: s, region: r, listener: l, onward: &http.Transport{MaxIdleConnsPerHost: 64}, turns: map[string]int{}}
	f.http = &http.Server{Handler: f, ErrorLog: log.New(discard{}, "", 0), ReadHeaderTimeout: time.Minute}
	s.fronts = append(s.fronts, f)
	go func() { _ = f.http.Serve(in) }() // ends with close
	return f, nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (f *front) close() {
	if f == nil {
		return
	}
	_ = f.http.Close()
	f.onward.CloseIdleConnections()
}

// Close ends what listens. Calls of the API are answered all the same.
func (s *Server) Close() {
	s.mu.Lock()
	fronts := s.fronts
	s.fronts = nil
	s.mu.Unlock()
	for _, f := range fronts {
		f.close()
	}
}

// cookie is the balancer's own, which keeps a client on a target group.
const cookie = "AWSALBTG"

// ServeHTTP sends one request on.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.server.mu.Lock()
	d := f.listener.doing(r, f.server.clientOf(r))
	var g *targetGroup
	var t *target
	if d.Forward != nil {
		g = f.choose(d.Forward, r)
		t = f.target(g)
	}
	f.server.mu.Unlock()
	switch {
	case d.Fixed != nil:
		status, _ := strconv.Atoi(d.Fixed.StatusCode)
		w.Header().Set("Content-Type", d.Fixed.ContentType)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(d.Fixed.MessageBody))
		return
	case t == nil:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if d.Forward.Sticky != nil && d.Forward.Sticky.Enabled {
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: url.QueryEscape(g.arn), MaxAge: d.Forward.Sticky.Duration, Path: "/"})
	}
	began := time.Now()
	address := net.JoinHostPort(t.id, strconv.Itoa(t.port))
	status := f.forward(w, r, address)
	f.server.mu.Lock()
	defer f.server.mu.Unlock()
	t.busy--
	if status == 0 && r.Context().Err() == nil {
		f.server.lost = append(f.server.lost, Undelivered{Address: address, Began: began, Failed: time.Now()})
	}
	g.samples = append(g.samples, Sample{At: began, Status: status, Seconds: time.Since(began).Seconds()})
}

// Undelivered is a request that a balancer answered with 502, since its target did not.
type Undelivered struct {
	Address       string // of the target, with its port
	Began, Failed time.Time
}

// Undelivered are all so far.
func (s *Server) Undelivered() []Undelivered {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lost)
}

// forward is the target's status, or 0 when no connection could be made.
func (f *front) forward(w http.ResponseWriter, r *http.Request, address string) (status int) {
	var once sync.Once
	p := &httputil.ReverseProxy{
		Transport: f.onward,
		ErrorLog:  f.http.ErrorLog,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "http", address
			p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"] // another one is added to it
			p.SetXForwarded()
			p.Out.Header.Del("X-Forwarded-Host") // a load balancer sends none
		},
		ModifyResponse: func(res *http.Response) error {
			once.Do(func() { status = res.StatusCode })
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if !errors.Is(err, context.Canceled) {
				w.WriteHeader(http.StatusBadGateway)
			}
		},
	}
	p.ServeHTTP(w, r)
	return status
}

// clientOf is where a request comes from.
func (s *Server) clientOf(r *http.Request) netip.Addr {
	if s.opts.Users != "" {
		return netip.MustParseAddr(s.opts.Users)
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // the server's own, which is one
	return from.Addr().Unmap()
}

// doing is the action for a request: the first rule's whose conditions all hold.
func (l *listener) doing(r *http.Request, from netip.Addr) doing {
	for _, u := range l.rules {
		if !slices.ContainsFunc(u.conditions, func(c condition) bool { return !c.holds(r, from) }) {
			return u.action
		}
	}
	return l.otherwise
}

func (c condition) holds(r *http.Request, from netip.Addr) bool {
	any := func(list []string, text string, fold bool) bool {
		return slices.ContainsFunc(list, func(pattern string) bool {
			if fold {
				pattern, text = strings.ToLower(pattern), strings.ToLower(text)
			}
			return like(pattern, text)
		})
	}
	switch {
	case c.Host != nil:
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		return any(c.Host.Values, host, true)
	case c.Path != nil:
		return any(c.Path.Values, r.URL.Path, false)
	case c.Header != nil:
		return slices.ContainsFunc(r.Header.Values(c.Header.Name), func(v string) bool { return any(c.Header.Values, v, true) })
	}
	return slices.ContainsFunc(c.Source.Values, func(n string) bool {
		network, err := netip.ParsePrefix(n)
		return err == nil && network.Contains(from)
	})
}

// like matches * as any number of characters and ? as one; a slash is a character like others.
func like(pattern, text string) bool {
	flat := strings.NewReplacer("/", "\x01", "[", "\x02", "\\", "\x03")
	ok, err := path.Match(flat.Replace(pattern), flat.Replace(text))
	return ok && err == nil
}

// choose is the group of a request: that of its cookie, else by weights, each in turn as its share is due (smooth weighted round robin).
func (f *front) choose(to *forwarding, r *http.Request) *targetGroup {
	if c, err := r.Cookie(cookie); err == nil && to.Sticky != nil && to.Sticky.Enabled {
		arn, _ := url.QueryUnescape(c.Value)
		if slices.ContainsFunc(to.Groups, func(w weighted) bool { return w.ARN == arn }) {
			return f.region.balancing.groups[arn]
		}
	}
	total, best := 0, ""
	for _, w := range to.Groups {
		total += w.Weight
		f.turns[w.ARN] += w.Weight
		if w.Weight > 0 && (best == "" || f.turns[w.ARN] > f.turns[best]) {
			best = w.ARN
		}
	}
	f.turns[best] -= total
	return f.region.balancing.groups[best]
}

// target is the least busy of those that are healthy, or of all when none is: the balancer fails open.
func (f *front) target(g *targetGroup) *target {
	if g == nil {
		return nil
	}
	f.region.settle(f.server, g)
	var best *target
	for _, healthy := range []bool{true, false} {
		for _, t := range g.targets {
			state, _, _ := f.server.state(g, t)
			if state != "draining" && (!healthy || state == "healthy") && (best == nil || t.busy < best.busy) {
				best = t
			}
		}
		if best != nil {
			best.busy++
			return best
		}
	}
	return nil
}
