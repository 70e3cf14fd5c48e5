package awstest

import (
	"encoding/base64"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// Instance is one whose answers a test gives.
type Instance struct {
	ID, Region string
	Image      string // AMI
	Tags       map[string]string
	UserData   string // decoded
}

// answers gives an instance an address on loopback, and a server there from when it runs. The caller holds the lock.
func (s *Server) answers(r *region, i *instance) {
	if s.opts.Serve == nil {
		return
	}
	if !s.loopback.IsValid() { // somewhere of this server's own: several may run
		s.loopback = netip.AddrFrom4([4]byte{127, byte(32 + rand.IntN(192)), byte(rand.IntN(256)), 0})
	}
	s.loopback = s.loopback.Next()
	i.ip = s.loopback.String()
	text, _ := base64.StdEncoding.DecodeString(i.userData) // checked at launch
	port, handler := s.opts.Serve(Instance{ID: i.id, Region: r.name, Image: i.image, Tags: maps.Clone(i.tags), UserData: string(text)})
	time.AfterFunc(time.Until(i.running), func() { s.listen(i, net.JoinHostPort(i.ip, strconv.Itoa(port)), handler) })
}

func (s *Server) listen(i *instance, address string, handler http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !i.ending.IsZero() {
		return
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		log.Printf("awstest: an instance does not answer: %v", err) // no test's error: its instance is a bad one
		return
	}
	i.server = &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go i.server.Serve(l) //nolint:errcheck // it ends when it is closed
}

// silence cuts off what an instance answers.
func (i *instance) silence() {
	if i.server != nil {
		_ = i.server.Close()
	}
}

// Silence ends what all instances answer.
func (s *Server) Silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.regions {
		for _, i := range r.instances {
			i.silence()
		}
	}
}
