package awstest

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"sync"
	"testing"
	"time"
)

// Account is the number of the account that every caller is in.
const Account = "123456789012"

// Options of a server. The zero value is a fast one.
type Options struct {
	Takes time.Duration // how long a change of state takes: pending to completed, pending to available. 0: 5 ms
	Lag   time.Duration // how long what was made is not found by Describe calls, and tags of a balancer's that were changed are as before
	// IdleDrain is how long a target without requests drains at most, for tests that have no time; 0: as long as any, as AWS does.
	IdleDrain time.Duration
	// BareChildren gives snapshots nothing of their parents, which AWS does not do, and some emulators do.
	BareChildren bool
	// NoNetwork is an account without a default network, whose callers make one.
	NoNetwork bool
	// NoBlocks lacks the EBS direct APIs, as some emulators do.
	NoBlocks bool
	// UserData is what the metadata service gives as user data; "": none.
	UserData string
	// Listen says where a balancer's listener on a port serves users; nil: listeners serve nobody.
	Listen func(port int) string
	// Users is the address that all users come from, as balancers see it; "": their own.
	Users string
	// Serve gives what an instance answers at a port of its address, which is one on loopback then; nil: instances answer nothing.
	Serve func(Instance) (port int, answers http.Handler)
}

// Call is one request as the server understood it.
type Call struct {
	N       int    // 1 is the first
	Service string // as signatures name it: "ec2", "ebs", "elasticloadbalancing", "cloudwatch", "sts", "imds"
	Action  string // "DescribeSnapshots"
	Region  string
	Params  url.Values // of query protocols: the form; of REST: the query
}

// Name is "service:Action", as policies name what they allow.
func (c Call) Name() string { return c.Service + ":" + c.Action }

// Fault is an error that a test wants instead of an answer.
type Fault struct {
	Status  int    // HTTP status, e.g. 503
	Code    string // "RequestLimitExceeded"
	Message string
}

// Server is one AWS. It is safe for use by many goroutines.
type Server struct {
	URL  string // "" of one that was not started here
	opts Options

	mu        sync.Mutex // guards what follows
	regions   map[string]*region
	calls     []Call
	intercept func(Call) *Fault
	made      int // things with an id, over all regions
	tokens    map[string]time.Time
	fronts    []*front
	lost      []Undelivered
	loopback  netip.Addr // of the newest instance that answers
}

// New makes a server without an address: an http.Handler.
func New(opts Options) *Server {
	if opts.Takes == 0 {
		opts.Takes = 5 * time.Millisecond
	}
	return &Server{opts: opts, regions: map[string]*region{}, tokens: map[string]time.Time{}}
}

// Start serves until the test ends.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s := New(opts)
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	t.Cleanup(s.Close)
	t.Cleanup(s.Silence)
	s.URL = front.URL
	return s
}

// Intercept has f asked about every request before anything is done; nil ends that. f must not call the server.
func (s *Server) Intercept(f func(Call) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Calls are the requests so far, in order of their arrival.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// region is all that is in one region.
type region struct {
	name      string
	snapshots map[string]*snapshot
	started   map[string]startedSnapshot // by client token
	images    map[string]*image
	copied    map[string]copiedImage // by client token
	instances map[string]*instance
	launched  map[string]launched  // by client token
	templates map[string]*template // by name
	groups    map[string]*group    // by name
	networks  map[string]*network  // but the default one
	subnets   []*subnet
	volumes   map[string]*volume
	balancing balancing
}

func (s *Server) region(name string) *region {
	if r := s.regions[name]; r != nil {
		return r
	}
	r := &region{name: name, snapshots: map[string]*snapshot{}, started: map[string]startedSnapshot{}, images: map[string]*image{},
		copied: map[string]copiedImage{}, instances: map[string]*instance{}, launched: map[string]launched{}, templates: map[string]*template{},
		groups: map[string]*group{}, networks: map[string]*network{}, volumes: map[string]*volume{}, balancing: newBalancing()}
	if !s.opts.NoNetwork {
		r.subnets = subnetsOf(name)
	}
	s.regions[name] = r
	return r
}

// id mints one as AWS writes them: "snap-" and 17 hex digits.
func (s *Server) id(prefix string) string {
	s.made++
	h := fnv.New128a()
	fmt.Fprint(h, prefix, s.made)
	return prefix + "-" + hex.EncodeToString(h.Sum(nil))[:17]
}

// scope is the credential scope of an Authorization header (AWS Signature Version 4).
var scope = regexp.MustCompile(`Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request`)

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isMetadata(r.URL.Path) {
		s.metadata(w, r)
		return
	}
	signed := scope.FindStringSubmatch(r.Header.Get("Authorization"))
	if signed == nil {
		queryError(w, &Fault{http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token"})
		return
	}
	switch region, service := signed[1], signed[2]; service {
	case "ebs":
		if s.opts.NoBlocks {
			answer(w, http.StatusNotImplemented, map[string]string{"Message": "no such service here"})
			return
		}
		s.blocks(w, r, region)
	case "ec2":
		s.query(w, r, Call{Service: service, Region: region}, ec2Actions, ec2Wire{})
	case "autoscaling":
		s.query(w, r, Call{Service: service, Region: region}, groupActions, queryWire{"http://autoscaling.amazonaws.com/doc/2011-01-01/"})
	case "elasticloadbalancing":
		s.query(w, r, Call{Service: service, Region: region}, balancerActions, queryWire{"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"})
	case "monitoring":
		s.monitoring(w, r, region)
	case "sts":
		s.query(w, r, Call{Service: service, Region: region}, stsActions, queryWire{"https://sts.amazonaws.com/doc/2011-06-15/"})
	default:
		queryError(w, &Fault{http.StatusNotFound, "UnknownService", "no service " + service + " here"})
	}
}

// begin notes a call and says what a test wants to go wrong. The caller holds the lock.
func (s *Server) begin(c Call) *Fault {
	c.N = len(s.calls) + 1
	s.calls = append(s.calls, c)
	if s.intercept == nil {
		return nil
	}
	return s.intercept(c)
}
