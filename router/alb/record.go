package alb

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router"
)

// record is what is written down: the table, and the nodes that may have requests and that it does not have: those that left earlier
// ones and may not be empty yet, and those that join for the next one.
type record struct {
	Table   router.Table `json:"table"`
	Leaving []leaving    `json:"leaving,omitempty"`
}

// leaving is a node that is in the table no more.
type leaving struct {
	Fleet   string `json:"fleet"`
	Node    string `json:"node"`
	Group   string `json:"group"` // name
	Address string `json:"address"`
}

// target is what AWS knows of a node: not its name.
type target struct{ group, address string }

func (l leaving) target() target { return target{l.Group, l.Address} }

const (
	pieceLen  = 256 // characters of a tag's value
	pieces    = 40  // tags of a page; 50 are possible
	mostPages = 20  // of one table: about 150 KB of compressed JSON
)

// sealed is the table as it is kept: in place of the key that signs the router's own cookies, which a load balancer does not use, is
// that key's digest, since whoever may look at the account reads tags.
func sealed(t router.Table) router.Table {
	t = t.Canonical()
	for i := range t.Routes {
		if s := t.Routes[i].Sticky; s != nil && s.Key != "" {
			sum := sha256.Sum256([]byte("release router/alb\x00" + s.Key))
			s.Key = hex.EncodeToString(sum[:])
		}
	}
	return t
}

// head is the tag that says where the table is: version, set, pieces, digest, and the how many-th that was written it is.
type head struct {
	version router.Version
	set     string // "a" or "b"
	count   int
	sum     string
	write   uint64
}

func (h head) String() string {
	return fmt.Sprintf("%s %s %d %s %d", h.version, h.set, h.count, h.sum, h.write)
}

func readHead(text string) (h head, err error) {
	f := strings.Fields(text)
	if len(f) != 5 || f[1] != "a" && f[1] != "b" {
		return h, fmt.Errorf("%q does not say where a table is", text)
	}
	if h.version, err = readVersion(f[0]); err == nil {
		h.count, err = strconv.Atoi(f[2])
	}
	if err == nil {
		h.write, err = strconv.ParseUint(f[4], 10, 64)
	}
	h.set, h.sum = f[1], f[3]
	return h, err
}

// firstPage is the group with the head.
func (v *view) firstPage() *group {
	for _, g := range v.pages {
		if strings.HasSuffix(g.name, "a0") {
			return g
		}
	}
	return nil
}

// effective is the version that the rules obey.
func (v *view) effective() router.Version {
	g := v.firstPage()
	if g == nil {
		return router.Version{}
	}
	version, _ := readVersion(g.tags[tagEffective]) // none yet is the zero one
	return version
}

// record reads what is written down; nil: nothing yet.
func (b *Backend) record(v *view) (*record, error) {
	first := v.firstPage()
	if first == nil || first.tags[tagTable] == "" {
		return nil, nil
	}
	h, err := readHead(first.tags[tagTable])
	if err != nil {
		return nil, unreadable(first, err)
	}
	var text strings.Builder
	for i := range h.count {
		page := v.pages[strings.TrimSuffix(first.name, "a0")+h.set+strconv.Itoa(i/pieces)]
		if page != nil {
			text.WriteString(page.tags[pieceKey(h.set, i)])
		}
	}
	rec, err := unpack(text.String(), h.sum)
	switch {
	case errors.Is(err, errTorn) && b.known.torn(): // tags are eventually consistent
		return nil, fmt.Errorf("%w: table %s: %w", errAgain, h.version, err)
	case err != nil:
		return nil, unreadable(first, fmt.Errorf("table %s: %w", h.version, err))
	}
	b.known.whole()
	return rec, nil
}

// unreadable is of a table that is not read by trying again.
func unreadable(first *group, err error) error {
	return fault.New(fault.Failed, "read the table that tag %s of target group %s names: %w", tagTable, first.name, err).
		WithHint("if a newer release wrote it, run that one; to have this one write its own table: aws elbv2 remove-tags --resource-arns %s --tag-keys %s", first.arn, tagTable)
}

// errTorn is of pieces that do not belong together.
var errTorn = errors.New("its pieces do not fit together")

func pieceKey(set string, i int) string { return fmt.Sprintf("release.table.%s%02d", set, i%pieces) }

func pack(rec *record) (text, sum string, err error) {
	plain, err := json.Marshal(rec)
	if err != nil {
		return "", "", err
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", "", err
	}
	digest := sha256.Sum256(packed.Bytes())
	return base64.StdEncoding.EncodeToString(packed.Bytes()), hex.EncodeToString(digest[:16]), nil
}

// mostRecord bounds what is unpacked, in bytes.
const mostRecord = 64 << 20

func unpack(text, sum string) (*record, error) {
	packed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errTorn, err)
	}
	if digest := sha256.Sum256(packed); hex.EncodeToString(digest[:16]) != sum {
		return nil, fmt.Errorf("%w: they do not have the digest %s", errTorn, sum)
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), mostRecord))
	if err != nil {
		return nil, err
	}
	var rec struct {
		record
		Table json.RawMessage `json:"table"`
	}
	if err := json.Unmarshal(plain, &rec); err != nil {
		return nil, err
	}
	rec.record.Table, err = router.Decode(rec.Table)
	return &rec.record, err
}

// write writes the table down, with the nodes that leave by it. Nobody may have written another one meanwhile.
func (b *Backend) write(ctx context.Context, v *view, before *record, t router.Table) error {
	rec := &record{Table: t}
	if before != nil {
		rec.Leaving = b.leaving(v, before, t)
	}
	if err := b.fence(ctx, v); err != nil {
		return err
	}
	return b.save(ctx, v, rec)
}

// leaving are the nodes of before that are not in the table and still among the targets.
func (b *Backend) leaving(v *view, before *record, t router.Table) []leaving {
	all := slices.Clone(before.Leaving)
	for l := range b.nodes(before.Table) {
		all = append(all, l)
	}
	stays := b.targets(t)
	return inOrder(b.registered(v, slices.DeleteFunc(all, func(l leaving) bool { return stays[l.target()] })))
}

// registered are those that may still be among the targets.
func (b *Backend) registered(v *view, all []leaving) []leaving {
	return slices.DeleteFunc(slices.Clone(all), func(l leaving) bool {
		g := v.groups[l.Group]
		if g == nil {
			return true
		}
		_, there := g.targets[l.Address]
		return g.targets != nil && !there
	})
}

func inOrder(all []leaving) []leaving {
	slices.SortFunc(all, func(x, y leaving) int {
		return cmp.Or(strings.Compare(x.Node, y.Node), strings.Compare(x.Address, y.Address), strings.Compare(x.Group, y.Group), strings.Compare(x.Fleet, y.Fleet))
	})
	return slices.Compact(all)
}

// nodes are those of a table, as targets of their groups.
func (b *Backend) nodes(t router.Table) func(yield func(leaving) bool) {
	return func(yield func(leaving) bool) {
		for _, r := range t.Routes {
			for _, f := range r.Fleets {
				for _, n := range f.Nodes {
					if !yield(leaving{f.ID, n.Name, b.groupName(f.ID, r.Nodes), plainAddress(n.Address)}) {
						return
					}
				}
			}
		}
	}
}

// targets are those of a table.
func (b *Backend) targets(t router.Table) map[target]bool {
	all := map[target]bool{}
	for l := range b.nodes(t) {
		all[l.target()] = true
	}
	return all
}

// plainAddress is an address as AWS writes it.
func plainAddress(text string) string {
	a, err := netip.ParseAddrPort(text)
	if err != nil { // tables are valid
		return text
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// fence makes sure that the table written down is still the one that was looked at. A load balancer has no compare-and-set: what a
// leader and its successor do in the same instant is kept apart by the lease of the store alone.
func (b *Backend) fence(ctx context.Context, v *view) error {
	first := v.firstPage()
	if first == nil {
		return nil
	}
	now := map[string]map[string]string{}
	if err := b.tagsOf(ctx, []string{first.arn}, now); err != nil {
		return err
	}
	if now[first.arn][tagTable] != first.tags[tagTable] {
		return fmt.Errorf("%w: another agent wrote a table", errAgain)
	}
	return nil
}

// save puts the pieces where the present table has none, and then says in one tag that they are the table.
func (b *Backend) save(ctx context.Context, v *view, rec *record) error {
	text, sum, err := pack(rec)
	if err != nil {
		return err
	}
	first, err := b.page(ctx, v, "a", 0)
	if err != nil {
		return err
	}
	h := head{version: rec.Table.Version, set: "a", count: (len(text) + pieceLen - 1) / pieceLen, sum: sum, write: 1}
	if before, err := readHead(first.tags[tagTable]); err == nil {
		h.write = before.write + 1
		if before.set == "a" {
			h.set = "b"
		}
	}
	if h.count > pieces*mostPages {
		return fault.New(fault.NoSpace, "write table %s into tags: it has %d pieces, %d are possible", h.version, h.count, pieces*mostPages)
	}
	for n := 0; n*pieces < h.count; n++ {
		page, err := b.page(ctx, v, h.set, n)
		if err != nil {
			return err
		}
		var pairs []string
		for i := n * pieces; i < min(h.count, (n+1)*pieces); i++ {
			pairs = append(pairs, pieceKey(h.set, i), text[i*pieceLen:min(len(text), (i+1)*pieceLen)])
		}
		if err := b.tag(ctx, page, pairs...); err != nil {
			return err
		}
	}
	if err := b.tag(ctx, first, tagTable, h.String()); err != nil {
		return err
	}
	b.known.wrote(h)
	return nil
}

// confirm notes that the rules obey a version.
func (b *Backend) confirm(ctx context.Context, v *view, version router.Version) error {
	first := v.firstPage()
	if first == nil || first.tags[tagEffective] == version.String() {
		return nil
	}
	if err := b.tag(ctx, first, tagEffective, version.String()); err != nil {
		return err
	}
	b.known.obeyed(version)
	return nil
}

// doubt notes that the rules may not obey the version that they did.
func (b *Backend) doubt(ctx context.Context, v *view) error {
	if first := v.firstPage(); first != nil && first.tags[tagEffective] != "" {
		return b.tag(ctx, first, tagEffective, "")
	}
	return nil
}

func (b *Backend) tag(ctx context.Context, g *group, pairs ...string) error {
	if _, err := b.elb.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{g.arn}, Tags: tags(pairs...)}); err != nil {
		return err
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		g.tags[pairs[i]] = pairs[i+1]
	}
	return nil
}

// page finds or makes a target group that has no targets and keeps a part of the table.
func (b *Backend) page(ctx context.Context, v *view, set string, n int) (*group, error) {
	name := b.pageName(set, n)
	if g := v.pages[name]; g != nil {
		return g, nil
	}
	g, err := b.make(ctx, &elb.CreateTargetGroupInput{Name: &name, Protocol: types.ProtocolEnumHttp, Port: aws.Int32(80), VpcId: &v.network, TargetType: types.TargetTypeEnumIp,
		Tags: tags(tagInstallation, b.opts.Installation)})
	if err != nil {
		return nil, err
	}
	if g.tags[tagTable] != "" {
		return nil, fmt.Errorf("%w: a table is there", errAgain)
	}
	v.pages[name] = g
	return g, nil
}
