package certs

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// clientCA is a file of authorities whose certificates clients must show.
type clientCA struct {
	*watched[x509.CertPool]
	file string
}

func newClientCA(file string, m *Manager) *clientCA {
	log := m.log.With("client_ca", file)
	return &clientCA{file: file, watched: &watched[x509.CertPool]{
		files: []string{file}, now: m.now,
		parse: func(contents [][]byte) (*x509.CertPool, error) { return parsePool(contents[0]) },
		log: func(_ *x509.CertPool, err error) {
			if err != nil {
				log.Warn("client authorities do not reload, the last good ones stay", "error", err)
				return
			}
			log.Info("client authorities loaded")
		},
	}}
}

// parsePool reads certificates, at least one, and nothing that is none.
func parsePool(b []byte) (*x509.CertPool, error) {
	if err := whole(b); err != nil {
		return nil, err
	}
	pool, found := x509.NewCertPool(), false
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it has a PEM block of type %s", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(c)
		found = true
	}
	if !found {
		return nil, errors.New("it has no certificate in PEM form")
	}
	return pool, nil
}

func (c *clientCA) problems(time.Time) []string {
	_, err := c.get()
	switch why := c.why(); {
	case err != nil:
		return []string{fmt.Sprintf("client authorities %s do not load: %s", c.file, why)}
	case why != "":
		return []string{fmt.Sprintf("client authorities %s do not reload, those loaded before count: %s", c.file, why)}
	}
	return nil
}
