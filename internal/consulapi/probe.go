package consulapi

import (
	"context"
	"errors"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/fault"
)

// Servers is what a Consul says of itself.
type Servers struct {
	Version string // of the member that answered, "1.20.6"; "" where the token may not ask
	Leader  string // address
	Count   int    // of servers
}

// Servers asks Consul what it is. Errors are those of Explain; fault.Unavailable also when no server leads.
func (s Settings) Servers(ctx context.Context) (Servers, error) {
	client, err := s.Client()
	if err != nil {
		return Servers{}, err
	}
	q := (&api.QueryOptions{}).WithContext(ctx)
	var out Servers
	if out.Leader, err = client.Status().LeaderWithQueryOptions(q); err != nil {
		return out, s.Explain(err, "")
	}
	if out.Leader == "" {
		//lint:ignore ST1005 as Consul itself says it
		return out, s.Explain(errors.New("No cluster leader"), "")
	}
	peers, err := client.Status().PeersWithQueryOptions(q)
	if err != nil {
		return out, s.Explain(err, "")
	}
	out.Count = len(peers)
	var self struct{ Config struct{ Version string } }
	_, err = client.Raw().Query("/v1/agent/self", &self, q)
	if err = s.Explain(err, ""); err != nil && !fault.Is(err, fault.Denied) {
		return out, err
	}
	out.Version = self.Config.Version
	return out, nil
}

// never is an index that nothing has at Consul: what is written on condition of it changes nothing, and is refused only for want
// of rights.
const never = 1 << 62

// MayStore says whether the token may keep a store or an edge below a prefix of keys: fault.Denied with the policy when it may not.
// It changes nothing but for a session, which it ends.
func (s Settings) MayStore(ctx context.Context, prefix, policy string) error {
	return s.may(ctx, policy, keysBelow(prefix), locks)
}

// MayRoute is MayStore for an agent that keeps services and nodes in the catalog as well.
func (s Settings) MayRoute(ctx context.Context, prefix, policy string) error {
	return s.may(ctx, policy, keysBelow(prefix), locks, services, nodes)
}

type right func(ctx context.Context, client *api.Client) error

func (s Settings) may(ctx context.Context, policy string, rights ...right) error {
	client, err := s.Client()
	if err != nil {
		return err
	}
	for _, r := range rights {
		if err := r(ctx, client); err != nil {
			return s.Explain(err, policy)
		}
	}
	return nil
}

func keysBelow(prefix string) right {
	return func(ctx context.Context, client *api.Client) error {
		if _, _, err := client.KV().List(prefix+"schema", (&api.QueryOptions{}).WithContext(ctx)); err != nil {
			return err
		}
		_, _, err := client.KV().CAS(&api.KVPair{Key: prefix + "doctor", ModifyIndex: never}, (&api.WriteOptions{}).WithContext(ctx))
		return err
	}
}

func locks(ctx context.Context, client *api.Client) error {
	opts := (&api.WriteOptions{}).WithContext(ctx)
	session, _, err := client.Session().CreateNoChecks(&api.SessionEntry{Name: "release: doctor", TTL: "10s"}, opts)
	if err != nil {
		return err
	}
	_, err = client.Session().Destroy(session, opts)
	return err
}

func services(ctx context.Context, client *api.Client) error {
	_, _, err := client.ConfigEntries().DeleteCAS(api.ServiceDefaults, "release-doctor", never, (&api.WriteOptions{}).WithContext(ctx))
	return err
}

func nodes(ctx context.Context, client *api.Client) error {
	op := &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeCAS, Node: api.Node{Node: "release-doctor", Address: "127.0.0.1", ModifyIndex: never}}}
	ok, resp, _, err := client.Txn().Txn(api.TxnOps{op}, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil || ok || resp == nil {
		return err
	}
	for _, e := range resp.Errors {
		if strings.Contains(e.What, "Permission denied") {
			return errors.New(e.What)
		}
	}
	return nil
}
