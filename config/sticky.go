package config

import (
	"net/textproto"
	"regexp"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// Sticky is what makes a client the same one in two requests; exactly one of Cookie, Header and ClientAddress is set. In
// the file it has a short form, "cookie" or "client-address", and one with keys.
type Sticky struct {
	ClientAddress bool     `yaml:"-" json:"client_address,omitempty"`
	Cookie        string   `yaml:"cookie,omitempty" json:"cookie,omitempty"` // name
	MaxAge        Duration `yaml:"max_age,omitempty" json:"max_age,omitempty"`
	Header        string   `yaml:"header,omitempty" json:"header,omitempty"` // canonical name
}

// The short forms.
const (
	stickyCookie  = "cookie"
	stickyAddress = "client-address"
)

// stickyKeys is the form with keys.
type stickyKeys struct {
	Cookie string   `yaml:"cookie" doc:"Name of a signed cookie that the router gives to every client."`
	MaxAge Duration `yaml:"max_age" doc:"How long a client keeps the cookie. Default: until the browser ends."`
	Header string   `yaml:"header" doc:"Header whose value is the client; requests without it are split by themselves."`
}

var (
	// tokenPattern is a token of HTTP (RFC 9110, 5.6.2).
	tokenPattern  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")
	cookiePattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
)

// UnmarshalNode takes both forms. The cookie's name may be empty afterwards: it depends on the app.
func (s *Sticky) UnmarshalNode(n *strictyaml.Node, path string) error {
	forms := []string{stickyCookie, stickyAddress}
	switch {
	case n.Kind == strictyaml.Text && n.Text == stickyCookie:
		s.Cookie = defaultCookie
		return nil
	case n.Kind == strictyaml.Text && n.Text == stickyAddress:
		s.ClientAddress = true
		return nil
	case n.Kind == strictyaml.Text:
		return strictyaml.UnknownName(n.Pos, "value", n.Text, "for "+path, forms).
			WithHint("valid here: cookie, client-address, {cookie: NAME, max_age: 24h}, {header: NAME}")
	case n.Kind != strictyaml.Map:
		return strictyaml.WrongKind(n, path, "cookie, client-address or a mapping")
	}
	var keys stickyKeys
	errs := strictyaml.DecodeAt(n, &keys, path)
	s.Cookie, s.MaxAge, s.Header = keys.Cookie, keys.MaxAge, textproto.CanonicalMIMEHeaderKey(keys.Header)
	if len(errs) > 0 {
		return errs
	}
	return s.check(n, path).Err()
}

func (s *Sticky) check(n *strictyaml.Node, path string) (errs fault.List) {
	cookie, header := n.Get("cookie"), n.Get("header")
	switch {
	case cookie == nil && header == nil:
		errs = append(errs, n.Pos.Errorf("%s needs cookie or header", path))
	case cookie != nil && header != nil:
		errs = append(errs, n.LocateKey("header").Errorf("%s.header: there is %s.cookie already; a client is known by one of them", path, path))
	case header != nil && !tokenPattern.MatchString(s.Header):
		errs = append(errs, header.Pos.Errorf("%s.header %q must be the name of a header such as X-User", path, header.Text))
	case header != nil && n.Get("max_age") != nil:
		errs = append(errs, n.LocateKey("max_age").Errorf("%s.max_age is that of a cookie, and there is none", path))
	case cookie != nil && !cookiePattern.MatchString(s.Cookie):
		errs = append(errs, cookie.Pos.Errorf("%s.cookie %q must be 1 to 64 of A-Z, a-z, 0-9, _, . and -", path, cookie.Text))
	}
	return errs
}

// Short is the form without keys, if there is one.
func (s Sticky) Short() (string, bool) { return stickyAddress, s.ClientAddress }

// JSONSchema of both forms.
func (*Sticky) JSONSchema() *jsonschema.Schema {
	cookie, header := jsonschema.For[stickyKeys](), jsonschema.For[stickyKeys]()
	cookie.Required, header.Required = []string{"cookie"}, []string{"header"}
	short := &jsonschema.Schema{Type: "string", Enum: []string{stickyCookie, stickyAddress}}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{short, cookie, header}}
}

// defaultCookie stands for the app's own name until the app is known.
const defaultCookie = ":"

// sticky gives the cookie a name that another app, environment or role on the same host name does not have: browsers keep
// one cookie of a name whatever the port.
func (c *checker) sticky(a *App, role string, s *Sticky) {
	if s == nil {
		return
	}
	if s.Cookie == defaultCookie {
		s.Cookie = "release_" + a.App
		if a.Env != DefaultEnv {
			s.Cookie += "_" + a.Env
		}
		if role != DefaultRole {
			s.Cookie += "_" + role
		}
	}
}
