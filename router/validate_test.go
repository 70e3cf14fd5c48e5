package router

import (
	"errors"
	"strings"
	"testing"

	"github.com/bootandshoot/release/internal/fault"
)

func sample() Table {
	return Table{Schema: Schema, Version: Version{Epoch: 2, Seq: 3}, Routes: []Route{
		{Name: "b", Listen: ":80", Hosts: []string{"Shop.Example"}, Fleets: []Fleet{
			{ID: "f2", Release: "r2", Weight: 1},
			{ID: "f1", Release: "r1", Nodes: []Node{{Name: "y", Address: "10.0.0.2:80"}, {Name: "x", Address: "[::1]:80"}}},
		}},
		{Name: "a", Listen: ":80"},
	}}
}

func TestCanonical(t *testing.T) {
	in := sample()
	c := in.Canonical()
	if c.Routes[0].Name != "a" || c.Routes[1].Fleets[0].ID != "f1" || c.Routes[1].Fleets[0].Nodes[0].Name != "x" || c.Routes[1].Hosts[0] != "shop.example" {
		t.Errorf("canonical %+v", c)
	}
	if in.Routes[0].Name != "b" || in.Routes[0].Fleets[0].ID != "f2" || in.Routes[0].Hosts[0] != "Shop.Example" {
		t.Errorf("the original changed: %+v", in)
	}
	b, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := back.Encode(); string(again) != string(b) {
		t.Errorf("read back:\n%s\nwant\n%s", again, b)
	}
}

func TestSupersedes(t *testing.T) {
	old, other := sample(), sample()
	other.Routes[0].Fleets[0].Weight = 9
	newer, older, otherNewer := sample(), sample(), other
	newer.Version.Epoch++
	older.Version.Seq--
	otherNewer.Version.Seq++
	tests := []struct {
		name  string
		t     Table
		same  bool
		stale bool
	}{
		{"same", sample(), true, false}, {"same version, other content", other, false, true},
		{"newer epoch", newer, false, false}, {"newer seq", otherNewer, false, false}, {"older", older, false, true},
	}
	for _, tt := range tests {
		same, err := tt.t.Supersedes(old)
		if same != tt.same || errors.Is(err, ErrStale) != tt.stale {
			t.Errorf("%s: same %v, %v", tt.name, same, err)
		}
	}
}

// Every problem is named with its route, all at once.
func TestValidateFindsAll(t *testing.T) {
	table := sample()
	table.Routes[0].Listen = ":http"
	table.Routes[0].Fleets[0].Weight = -1
	table.Routes[0].Fleets[1].Nodes[0].Address = "node:80"
	table.Routes[1].Preview = Preview{From: []string{"10.0.0.1"}, KeySHA256: "abc"}
	table.Routes[1].TLS = &TLS{Cert: "cert.pem", Key: "/key.pem"}
	err := table.Validate()
	var list fault.List
	if !errors.As(err, &list) || len(list) != 6 {
		t.Fatalf("%d problems: %v", len(list), err)
	}
	for _, e := range list {
		if e.Code != fault.Invalid || !strings.Contains(e.Message, "route ") {
			t.Errorf("problem %+v", e)
		}
	}
}

func TestSharedListen(t *testing.T) {
	tests := []struct {
		name string
		a, b Route
		ok   bool
	}{
		{"two hosts", Route{Hosts: []string{"a"}}, Route{Hosts: []string{"b"}}, true},
		{"the same host in another case", Route{Hosts: []string{"a"}}, Route{Hosts: []string{"A"}}, false},
		{"every host twice", Route{}, Route{}, false},
		{"two paths", Route{Paths: []string{"/a"}}, Route{Paths: []string{"/b"}}, true},
		{"the same path", Route{Paths: []string{"/a"}}, Route{Paths: []string{"/a/"}}, false},
		{"plain and tls", Route{Hosts: []string{"a"}}, Route{Hosts: []string{"b"}, TLS: &TLS{Cert: "/c", Key: "/k"}}, false},
	}
	for _, tt := range tests {
		tt.a.Name, tt.b.Name, tt.a.Listen, tt.b.Listen = "a", "b", ":80", ":80"
		err := Table{Schema: Schema, Routes: []Route{tt.a, tt.b}}.Validate()
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestValidateFeatures(t *testing.T) {
	cookie := &Sticky{By: StickyCookie, Cookie: "c", Key: strings.Repeat("ab", 32)}
	good := []Route{
		{Listen: ":1", Protocol: TCP, Sticky: &Sticky{By: StickyAddress}},
		{Listen: ":1", Hosts: []string{"a.example"}, TLS: &TLS{ACME: &ACME{Directory: "https://ca.example/"}, Redirect: ":80"}},
		{Listen: ":1", Trusted: []string{"10.0.0.0/8"}, ProxyProtocol: true, Sticky: cookie},
		{Listen: ":1", Rules: []Rule{{Headers: map[string]string{"X-Team": ""}, Fleet: "f"}}, Sticky: &Sticky{By: StickyHeader, Header: "X-User"}},
	}
	for i, r := range good {
		r.Name = "r"
		if err := (Table{Schema: Schema, Routes: []Route{r}}).Validate(); err != nil {
			t.Errorf("good %d: %v", i, err)
		}
	}
	bad := map[string]Route{
		"neither http nor tcp":  {Protocol: "udp"},
		"nodes' protocol":       {Nodes: "h3"},
		"has no hosts":          {Protocol: TCP, Hosts: []string{"a"}},
		"only be sticky by":     {Protocol: TCP, Sticky: cookie},
		"choose one":            {TLS: &TLS{Cert: "/c", Key: "/k", ACME: &ACME{}}},
		"acme needs hosts":      {TLS: &TLS{ACME: &ACME{}}},
		"DNS challenge":         {Hosts: []string{"*.a"}, TLS: &TLS{ACME: &ACME{}}},
		"not an https":          {Hosts: []string{"a"}, TLS: &TLS{ACME: &ACME{Directory: "http://a"}}},
		"the same address":      {TLS: &TLS{Cert: "/c", Key: "/k", Redirect: ":1"}},
		"trusted networks only": {ProxyProtocol: true},
		"is not a CIDR":         {Trusted: []string{"10.0.0.1"}},
		"no condition":          {Rules: []Rule{{Fleet: "f"}}},
		"not a canonical name":  {Rules: []Rule{{Headers: map[string]string{"x-team": "a"}, Fleet: "f"}}},
		"does not begin with /": {Rules: []Rule{{Paths: []string{"a"}, Fleet: "f"}}},
		"key of 32 bytes":       {Sticky: &Sticky{By: StickyCookie, Cookie: "c", Key: "ab"}},
		"sticky header":         {Sticky: &Sticky{By: StickyHeader}},
		"sticky by \"moon\"":    {Sticky: &Sticky{By: "moon"}},
		"less than nothing":     {Balance: Balance{MaxQueue: -1}},
	}
	for want, r := range bad {
		r.Name, r.Listen = "r", ":1"
		err := (Table{Schema: Schema, Routes: []Route{r}}).Validate()
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: got %v", want, err)
		}
	}
}
