package sandbox

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The rules are a table of our own with one rule: what comes from the subnet and leaves by another link than the
// bridge does so under the machine's address. Docker, and some firewalls, drop forwarded packets in a table of
// theirs, where an accept of ours does not count; so where such a chain is, two rules marked as ours are put first in
// it.

func (n *ownNetwork) tableName() string { return "release_" + n.tag }

// mark is the comment by which rules in foreign chains are known.
func (n *ownNetwork) mark() []byte { return []byte("release " + n.owner) }

// setRules makes the table anew, in one transaction, and opens foreign chains.
func (n *ownNetwork) setRules() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: n.tableName()}
	c.AddTable(table) // so that deleting it is no error
	c.DelTable(table)
	c.AddTable(table)
	chain := c.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, UserData: n.mark(), Exprs: n.masquerade()})
	if err := c.Flush(); err != nil {
		return missingFeature("network address translation", "CONFIG_NFT_MASQ", err)
	}
	return n.openForeign()
}

// haveRules says whether our table is there: a firewall's restart may have swept it away.
func (n *ownNetwork) haveRules() bool {
	c, err := nftables.New()
	if err != nil {
		return false
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	return err == nil && slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == n.tableName() })
}

func (n *ownNetwork) masquerade() []expr.Any {
	addr := n.subnet.Addr().As4()
	size := uint32(0xffffffff) << (32 - n.subnet.Bits())
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}, // IPv4 source address
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.BigEndian.PutUint32(size), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr[:]},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: linkData(n.bridgeName())},
		&expr.Masq{},
	}
}

// linkData is a link's name as the kernel compares it: 16 bytes.
func linkData(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// foreign finds the chain in which forwarded packets must be let through: Docker's own place for such rules, else one
// that drops by default. nil when nobody drops.
func foreign(c *nftables.Conn) (*nftables.Chain, error) {
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("list firewall chains: %w", err)
	}
	var drops *nftables.Chain
	for _, ch := range chains {
		if ch.Table.Name == "filter" && ch.Name == "DOCKER-USER" {
			return ch, nil
		}
		if ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop {
			drops = ch
		}
	}
	return drops, nil
}

func (n *ownNetwork) openForeign() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	if err := n.closeForeign(c); err != nil {
		return err
	}
	chain, err := foreign(c)
	if err != nil || chain == nil {
		return err
	}
	for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
		c.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, UserData: n.mark(), Exprs: []expr.Any{
			&expr.Meta{Key: key, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: linkData(n.bridgeName())},
			&expr.Counter{},
			&expr.Verdict{Kind: expr.VerdictAccept},
		}})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("let nodes through the firewall chain %s: %w", chain.Name, err)
	}
	return nil
}

// closeForeign removes our rules from foreign chains.
func (n *ownNetwork) closeForeign(c *nftables.Conn) error {
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("list firewall chains: %w", err)
	}
	found := false
	for _, ch := range chains {
		if ch.Table.Name == n.tableName() || ch.Name != "DOCKER-USER" && ch.Hooknum == nil {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			continue // one that this library cannot read holds none of ours
		}
		for _, r := range rules {
			if slices.Equal(r.UserData, n.mark()) {
				if err := c.DelRule(r); err != nil {
					return fmt.Errorf("remove firewall rule: %w", err)
				}
				found = true
			}
		}
	}
	if !found {
		return nil
	}
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove firewall rules: %w", err)
	}
	return nil
}

func (n *ownNetwork) dropRules() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	if err := n.closeForeign(c); err != nil {
		return err
	}
	c.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: n.tableName()})
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove rules: %w", err)
	}
	return nil
}
