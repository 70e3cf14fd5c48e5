package embedded

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/netip"

	"github.com/bootandshoot/release/router"
	"github.com/bootandshoot/release/router/embedded/http1"
)

// networks is a list of networks.
type networks []netip.Prefix

// newNetworks reads what the table's validation has accepted.
func newNetworks(list []string) networks {
	var out networks
	for _, s := range list {
		if n, err := netip.ParsePrefix(s); err == nil {
			out = append(out, n)
		}
	}
	return out
}

func (l networks) contain(a netip.Addr) bool {
	for _, n := range l {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// previewRule decides whose X-Release is obeyed.
type previewRule struct {
	from networks
	key  []byte // SHA-256, or nil
}

func newPreviewRule(p router.Preview) previewRule {
	r := previewRule{from: newNetworks(p.From)}
	if b, err := hex.DecodeString(p.KeySHA256); err == nil && len(b) == sha256.Size {
		r.key = b
	}
	return r
}

// release is the release that the request asks for and may have, or "".
func (p previewRule) release(req *http1.Head, client netip.Addr) string {
	release := req.Get(http1.XRelease)
	if len(release) == 0 || len(p.from) == 0 && p.key == nil {
		return ""
	}
	if key := req.Get(http1.XReleaseKey); len(key) > 0 && p.key != nil {
		sum := sha256.Sum256(key)
		if subtle.ConstantTimeCompare(sum[:], p.key) == 1 {
			return string(release)
		}
	}
	if p.from.contain(client) {
		return string(release)
	}
	return ""
}
