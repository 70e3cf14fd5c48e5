// Package consulapi is what everything that speaks to Consul shares: how it is reached, what its errors mean and what to do
// about them, and the rules of following a value by blocking queries.
package consulapi

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/fault"
)

// Settings say how Consul is reached. What is empty comes from Consul's own variables (CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN,
// CONSUL_HTTP_TOKEN_FILE, CONSUL_HTTP_AUTH, CONSUL_HTTP_SSL, CONSUL_HTTP_SSL_VERIFY, CONSUL_CACERT, CONSUL_CAPATH,
// CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY, CONSUL_TLS_SERVER_NAME, CONSUL_NAMESPACE, CONSUL_PARTITION), else is the agent on
// this machine, 127.0.0.1:8500, without token and TLS.
type Settings struct {
	Address    string // "host:port", with "http://" or "https://" in front or not, or "unix:///path"
	Token      string // ACL token: the secret itself, never logged
	CA         string // PEM file: who signed Consul's certificate; with one of the three the scheme is https
	Cert, Key  string // PEM files: our own certificate
	ServerName string // expected in Consul's certificate instead of the address
}

// dialTimeout bounds how long a member that is gone holds a request up.
const dialTimeout = 5 * time.Second

// Client makes a client; nothing is asked yet. fault.Invalid says which setting is wrong.
func (s Settings) Client() (*api.Client, error) {
	cfg := api.DefaultConfig()
	if s.Address != "" {
		cfg.Address = s.Address
	}
	if s.Token != "" {
		cfg.Token, cfg.TokenFile = s.Token, ""
	}
	if s.CA != "" || s.Cert != "" {
		cfg.Scheme = "https"
	}
	cfg.TLSConfig.CAFile = orDefault(s.CA, cfg.TLSConfig.CAFile)
	cfg.TLSConfig.CertFile = orDefault(s.Cert, cfg.TLSConfig.CertFile)
	cfg.TLSConfig.KeyFile = orDefault(s.Key, cfg.TLSConfig.KeyFile)
	cfg.TLSConfig.Address = orDefault(s.ServerName, cfg.TLSConfig.Address)
	cfg.Transport.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext
	cfg.Transport.ResponseHeaderTimeout = 0 // blocking queries answer late
	var err error
	var client *api.Client
	if cfg.HttpClient, err = api.NewHttpClient(cfg.Transport, cfg.TLSConfig); err == nil {
		cfg.HttpClient.Transport = gateways{cfg.HttpClient.Transport}
		client, err = api.NewClient(cfg)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "reach Consul at %s: %w", s.Where(), err).
			WithHint("the settings are store.consul in agent.yaml, else the variables CONSUL_HTTP_ADDR, CONSUL_CACERT and so on")
	}
	return client, nil
}

// Where is Consul's address for people.
func (s Settings) Where() string {
	if s.Address != "" {
		return s.Address
	}
	return api.DefaultConfig().Address
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Policy is what an ACL token needs to read and write below a prefix of keys and to hold locks, as Consul's rules say it.
func Policy(prefix string) string {
	return fmt.Sprintf(`key_prefix %q { policy = "write" } session_prefix "" { policy = "write" }`, prefix)
}

// Explain gives an error of the client its class and the next step; an error that has a class keeps it, nil stays nil. The
// policy is what the token needs for what was asked.
//
//	fault.Unavailable  Consul does not answer, or has no leader: asking again later makes sense
//	fault.Denied       the token is not known or lacks a rule; or Consul's certificate is not trusted
//	fault.NoSpace      the value or the whole request is larger than the servers take
//	fault.Invalid      http where https is spoken, and the like
func (s Settings) Explain(err error, policy string) error {
	if err == nil || fault.CodeOf(err) != fault.Failed {
		return err
	}
	text, status := err.Error(), statusOf(err)
	switch {
	case status == http.StatusForbidden, strings.Contains(text, "Permission denied"), strings.Contains(text, "ACL not found"):
		return fault.New(fault.Denied, "Consul at %s refuses the ACL token: %w", s.Where(), err).
			WithHint("the token (store.consul.token, or CONSUL_HTTP_TOKEN) needs a policy with: %s", policy)
	case untrusted(err):
		return fault.New(fault.Denied, "Consul at %s is not trusted: %w", s.Where(), err).
			WithHint("name the CA that signed its certificate: store.consul.ca in agent.yaml, or CONSUL_CACERT")
	case strings.Contains(text, "HTTP request to an HTTPS server"), strings.Contains(text, "HTTP response to HTTPS client"):
		return fault.New(fault.Invalid, "Consul at %s: %w", s.Where(), err).
			WithHint("write the address with the scheme that Consul speaks there: https://… or http://…")
	case status == http.StatusRequestEntityTooLarge, strings.Contains(text, "too large"):
		return fault.New(fault.NoSpace, "Consul at %s does not take so much at once: %w", s.Where(), err).
			WithHint("raise limits.txn_max_req_len and limits.kv_max_value_size on Consul's servers")
	case noLeader(text, status):
		return fault.New(fault.Unavailable, "Consul at %s has no leader: %w", s.Where(), err).
			WithHint("more than half of Consul's servers must run: consul operator raft list-peers")
	case status == 0 && isNetwork(err), status >= 500, status == http.StatusTooManyRequests:
		return fault.New(fault.Unavailable, "Consul at %s does not answer: %w", s.Where(), err).
			WithHint("is its agent running there? consul members · the address is store.consul.address or CONSUL_HTTP_ADDR")
	}
	return err
}
