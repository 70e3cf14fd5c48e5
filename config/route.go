package config

import (
	"encoding/json"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// What a route's users and its nodes speak.
const (
	ProtocolHTTP = "http"
	ProtocolTCP  = "tcp"
	NodeHTTP1    = "http1"
	NodeH2C      = "h2c"
)

// Route is the entry that users reach. That of an internal role has no Listen: its address is chosen by the agent.
type Route struct {
	Listen        string   `yaml:"listen,omitempty" json:"listen" doc:"Address that users connect to, host:port or :port."`
	Protocol      string   `yaml:"protocol" json:"protocol" doc:"What users speak: http (HTTP/1, h2, WebSocket), or tcp: whole connections are split and their bytes passed on." default:"http" enum:"http,tcp"`
	NodeHTTP      string   `yaml:"node_http,omitempty" json:"node_http" doc:"What nodes speak: http1, or h2c, HTTP/2 without TLS, as gRPC servers do." default:"http1" enum:"http1,h2c"`
	Hosts         []string `yaml:"hosts,omitempty,flow" json:"hosts,omitempty" doc:"Host names that belong to this app, exact or *.example. Default: all."`
	Paths         []string `yaml:"paths,omitempty,flow" json:"paths,omitempty" doc:"Path prefixes that belong to this app, on segment borders. Default: all." pattern:"^/"`
	TLS           *TLS     `yaml:"tls,omitempty" json:"tls,omitempty" doc:"Serve HTTPS, with a certificate from files or one that is got by ACME. Default: plain HTTP."`
	Trusted       []string `yaml:"trusted,omitempty,flow" json:"trusted,omitempty" doc:"Networks (CIDR) or addresses of proxies in front, whose word for the client's address and scheme is taken. Default: nobody's."`
	ProxyProtocol bool     `yaml:"proxy_protocol,omitempty" json:"proxy_protocol,omitempty" doc:"Connections from trusted proxies begin with a PROXY protocol header, version 1 or 2." default:"false"`
	Preview       Preview  `yaml:"preview" json:"preview" doc:"Who may choose a release by the header X-Release."`
	Rules         []Rule   `yaml:"rules,omitempty" json:"rules,omitempty" doc:"Requests that go to one release whatever the weights are; the first rule that fits holds."`
	Sticky        *Sticky  `yaml:"sticky,omitempty" json:"sticky,omitempty" doc:"Keep a client on its release: cookie, client-address, {cookie: NAME, max_age: 24h} or {header: NAME}. Default: every request is split by itself."`
	Balance       Balance  `yaml:"balance" json:"balance" doc:"How a fleet's nodes share its requests."`
}

// UnmarshalJSON fills in the defaults of keys that the version that wrote the JSON did not know.
func (r *Route) UnmarshalJSON(data []byte) error {
	type plain Route
	var p plain
	strictyaml.Defaults(&p)
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	*r = Route(p)
	return nil
}

// TLS is a certificate from files, or one that is got by ACME, and what goes with it. After Load the paths are absolute.
type TLS struct {
	Cert     string   `yaml:"cert,omitempty" json:"cert,omitempty" doc:"Certificate chain in PEM, relative to this file."`
	Key      string   `yaml:"key,omitempty" json:"key,omitempty" doc:"Private key in PEM, relative to this file."`
	ACME     *ACME    `yaml:"acme,omitempty" json:"acme,omitempty" doc:"Get and renew a certificate for route.hosts from a certificate authority, instead of cert and key."`
	Redirect string   `yaml:"redirect,omitempty" json:"redirect,omitempty" doc:"Address where plain HTTP is sent on to HTTPS, e.g. :80. Default: none."`
	HSTS     Duration `yaml:"hsts,omitempty" json:"hsts,omitempty" doc:"Tell browsers to come by HTTPS only for so long (Strict-Transport-Security). Default: not told."`
	ClientCA string   `yaml:"client_ca,omitempty" json:"client_ca,omitempty" doc:"Clients must show a certificate of this authority (PEM), relative to this file. Default: none is asked for."`
}

// ACME is where a certificate comes from.
type ACME struct {
	Email     string `yaml:"email,omitempty" json:"email,omitempty" doc:"Address that the authority may write to."`
	Directory string `yaml:"directory,omitempty" json:"directory,omitempty" doc:"Address of the authority's directory. Default: Let's Encrypt." pattern:"^https://"`
	RootCA    string `yaml:"root_ca,omitempty" json:"root_ca,omitempty" doc:"Authority (PEM) of the directory's own certificate, relative to this file. Default: the system's."`
}

// Preview says whose X-Release header is obeyed.
type Preview struct {
	From []string `yaml:"from,flow" json:"from" doc:"Networks (CIDR) or addresses whose X-Release header is obeyed." default:"[127.0.0.0/8, \"::1/128\"]"`
	Key  string   `yaml:"key,omitempty" json:"key,omitempty" doc:"Reference (file:/path or env:NAME) to a key; requests that send it in X-Release-Key are obeyed from everywhere." pattern:"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"`
}

// What a rule may send requests to, beside a release by its number.
const (
	ToCandidate = "candidate" // the newest release that is launched and has not yet all the traffic
	ToServing   = "serving"   // the one with the largest share
	ToPrevious  = "previous"  // the one that a rollback would go to
)

// Rule sends requests to one release before the weights are looked at. All conditions that are set must hold.
type Rule struct {
	Header map[string]string `yaml:"header,omitempty" json:"header,omitempty" doc:"Headers and their values; an empty value is any."`
	Cookie map[string]string `yaml:"cookie,omitempty" json:"cookie,omitempty" doc:"Cookies and their values; an empty value is any."`
	Path   []string          `yaml:"path,omitempty,flow" json:"path,omitempty" doc:"Path prefixes on segment borders, one of which must fit." pattern:"^/"`
	From   []string          `yaml:"from,omitempty,flow" json:"from,omitempty" doc:"Networks (CIDR) or addresses of clients, one of which must fit."`
	To     string            `yaml:"to,required" json:"to" doc:"candidate (launched, and not yet at 100 %), serving, previous, or a release such as r8. While there is no such release the rule does not count." pattern:"^(candidate|serving|previous|r[1-9][0-9]{0,8})$"`
}

// Balance is how a fleet's nodes share its requests.
type Balance struct {
	SlowStart   Duration `yaml:"slow_start" json:"slow_start" doc:"Time in which a node that joins a serving fleet comes to its full share; 0s: at once." default:"0s"`
	EjectAfter  int      `yaml:"eject_after" json:"eject_after" doc:"Failures in a row (5xx, broken or late answers) that take a node out for a while, never more than half of a fleet; 0: none do." default:"5" minimum:"0" maximum:"1000"`
	MaxInFlight int      `yaml:"max_in_flight,omitempty" json:"max_in_flight,omitempty" doc:"Requests that a node gets at a time; more wait. Default: no limit." minimum:"1" maximum:"1000000"`
	MaxQueue    int      `yaml:"max_queue" json:"max_queue" doc:"Requests that may wait for a fleet's nodes; more are answered 503 at once." default:"1024" minimum:"1" maximum:"1000000"`
	QueueWait   Duration `yaml:"queue_wait" json:"queue_wait" doc:"How long a request waits, then it is answered 503." default:"5s"`
	Timeout     Duration `yaml:"timeout,omitempty" json:"timeout,omitempty" doc:"How long a node may take until its answer begins, then it is answered 504; a gRPC call to a node that speaks h2c may take as long as its client waits. Default: the router's own limit."`
	HedgeAfter  Duration `yaml:"hedge_after,omitempty" json:"hedge_after,omitempty" doc:"How long a GET, HEAD, OPTIONS or TRACE without a body waits for the beginning of its answer until it goes to a second node of its release as well; the first answer counts. Default: never."`
}
