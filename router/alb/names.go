package alb

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/router"
)

// Tags of what the backend makes.
const (
	tagInstallation = "release.installation"
	tagFleet        = "release.fleet"
	tagRoute        = "release.route"
	tagVersion      = "release.version"   // of a target group: of the table that it was made for
	tagTable        = "release.table"     // of the first page: where the table is, and its digest
	tagEffective    = "release.effective" // of the first page: the version that the rules obey
)

func digest(n int, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:n]
}

// prefix is that of the names of all target groups that the installation has at this balancer.
func (b *Backend) prefix() string { return prefixOf(b.opts.Installation, b.opts.Balancer) }

// namesBegin is how the names of target groups of all installations begin.
const namesBegin = "release-"

func prefixOf(installation, balancer string) string {
	return namesBegin + digest(8, installation, balancer) + "-"
}

// groupName is the name of a fleet's target group: 31 of the 32 characters that are possible.
func (b *Backend) groupName(fleet, nodes string) string {
	return b.prefix() + digest(14, fleet, nodes)
}

// pagePrefix is that of target groups that keep parts of the table.
func (b *Backend) pagePrefix() string { return b.prefix() + "table-" }

// pageName is the name of one of them.
func (b *Backend) pageName(set string, n int) string { return b.pagePrefix() + set + strconv.Itoa(n) }

func tags(pairs ...string) (list []types.Tag) {
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, types.Tag{Key: aws.String(pairs[i]), Value: aws.String(pairs[i+1])})
	}
	return list
}

// readVersion reads "epoch.seq".
func readVersion(text string) (v router.Version, err error) {
	epoch, seq, found := strings.Cut(text, ".")
	if !found {
		return v, fmt.Errorf("%q is no version", text)
	}
	if v.Epoch, err = strconv.ParseUint(epoch, 10, 64); err == nil {
		v.Seq, err = strconv.ParseUint(seq, 10, 64)
	}
	return v, err
}

// tagText is text as a tag's value may have it: what is not possible there becomes a dot.
func tagText(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("+-=._:/@ ", r) {
			return r
		}
		return '.'
	}, text[:min(len(text), 256)])
}
