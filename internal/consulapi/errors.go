package consulapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hashicorp/consul/api"
)

// statusOf is the HTTP status of an answer that was an error, 0 when there was no answer or the client does not say.
func statusOf(err error) int {
	var status api.StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	return 0
}

// gateways makes an error of what a load balancer in front of Consul says when it got no answer itself: the client does not
// tell the status of every answer.
type gateways struct{ next http.RoundTripper }

func (g gateways) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.next.RoundTrip(req)
	if err != nil || resp.StatusCode < http.StatusBadGateway || resp.StatusCode > http.StatusGatewayTimeout {
		return resp, err
	}
	_ = resp.Body.Close()
	return nil, errors.New("the answer is " + resp.Status)
}

// noLeader tells what servers say while they elect a leader, or lose one with our request under way.
func noLeader(text string, status int) bool {
	if status != 0 && status < 500 {
		return false
	}
	for _, said := range []string{"No cluster leader", "leadership lost", "not the leader", "node is not the leader", "leadership transfer in progress",
		"raft is already shutdown", "rpc error", "No known Consul servers"} {
		if strings.Contains(text, said) {
			return true
		}
	}
	return false
}

// untrusted tells a certificate that does not verify.
func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	return errors.As(err, &verification) || errors.As(err, &unknown) || errors.As(err, &host)
}

// isNetwork tells a connection that could not be made or broke, or an answer that is not whole.
func isNetwork(err error) bool {
	var asked *url.Error
	var network net.Error
	return errors.As(err, &asked) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		strings.Contains(err.Error(), "Unexpected response code: 5")
}
