package consul

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"

	"github.com/hashicorp/consul/api"

	"github.com/bootandshoot/release/internal/fault"
)

// readEntry is a config entry, nil when there is none.
func (p *Projector) readEntry(ctx context.Context, kind, name string) (entry api.ConfigEntry, err error) {
	err = p.try(ctx, func(ctx context.Context) error {
		got, _, err := p.client.ConfigEntries().Get(kind, name, consistent(ctx))
		var status api.StatusError
		if errors.As(err, &status) && status.Code == http.StatusNotFound {
			return nil
		}
		entry = got
		return err
	})
	return entry, err
}

// foreign says whether a config entry is somebody else's.
func (p *Projector) foreign(e api.ConfigEntry) bool {
	return e != nil && e.GetMeta()[metaInstallation] != p.opts.Installation
}

// errForeign: somebody else keeps a config entry of that name.
func errForeign(e api.ConfigEntry) error {
	return fault.New(fault.Exists, "%s %s in Consul is not of this installation: left alone", e.GetKind(), e.GetName()).
		WithHint("remove it there if the split of this route is to be projected")
}

// put makes a config entry be as it should, if it is not.
func (p *Projector) put(ctx context.Context, e api.ConfigEntry) error {
	have, err := p.readEntry(ctx, e.GetKind(), e.GetName())
	switch {
	case err != nil:
		return err
	case p.foreign(have):
		return errForeign(have)
	case have != nil && sameEntry(have, e):
		return nil
	}
	var index uint64
	if have != nil {
		index = have.GetModifyIndex()
	}
	return p.try(ctx, func(ctx context.Context) error {
		written, _, err := p.client.ConfigEntries().CAS(e, index, writing(ctx))
		if err == nil && !written {
			err = fault.New(fault.Busy, "%s %s in Consul was changed by somebody else at the same time", e.GetKind(), e.GetName())
		}
		return err
	})
}

// drop removes a config entry of ours.
func (p *Projector) drop(ctx context.Context, kind, name string) error {
	have, err := p.readEntry(ctx, kind, name)
	if err != nil || have == nil || p.foreign(have) {
		return err
	}
	return p.try(ctx, func(ctx context.Context) error {
		_, _, err := p.client.ConfigEntries().DeleteCAS(kind, name, have.GetModifyIndex(), writing(ctx))
		return err
	})
}

// sameEntry compares what we write; Consul adds indexes and more of its own.
func sameEntry(a, b api.ConfigEntry) bool {
	switch a := a.(type) {
	case *api.ServiceConfigEntry:
		b, ok := b.(*api.ServiceConfigEntry)
		return ok && a.Protocol == b.Protocol
	case *api.ServiceResolverConfigEntry:
		b, ok := b.(*api.ServiceResolverConfigEntry)
		return ok && a.DefaultSubset == b.DefaultSubset && maps.Equal(a.Subsets, b.Subsets)
	case *api.ServiceSplitterConfigEntry:
		b, ok := b.(*api.ServiceSplitterConfigEntry)
		return ok && reflect.DeepEqual(splits(a), splits(b))
	}
	return false
}

func splits(e *api.ServiceSplitterConfigEntry) map[string]float32 {
	out := map[string]float32{}
	for _, s := range e.Splits {
		out[s.ServiceSubset] = s.Weight
	}
	return out
}

func (p *Projector) meta() map[string]string {
	return map[string]string{metaInstallation: p.opts.Installation}
}

func (p *Projector) defaults(w wanted) api.ConfigEntry {
	return &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: w.service, Protocol: w.protocol, Meta: p.meta()}
}

func (p *Projector) splitter(w wanted) api.ConfigEntry {
	e := &api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: w.service, Meta: p.meta()}
	for _, s := range w.shares {
		e.Splits = append(e.Splits, api.ServiceSplit{ServiceSubset: s.subset, Weight: float32(s.share) / 100})
	}
	return e
}

// resolver has the subsets given. A service that is not split goes to the subset of most weight.
func (p *Projector) resolver(w wanted, subsets map[string]api.ServiceResolverSubset) api.ConfigEntry {
	e := &api.ServiceResolverConfigEntry{Kind: api.ServiceResolver, Name: w.service, Subsets: subsets, Meta: p.meta()}
	if !w.split {
		e.DefaultSubset = w.first
	}
	return e
}

// owned are the services that config entries of ours are of.
func (p *Projector) owned(ctx context.Context) ([]string, error) {
	names := map[string]bool{}
	for _, kind := range []string{api.ServiceSplitter, api.ServiceResolver, api.ServiceDefaults} {
		var list []api.ConfigEntry
		err := p.try(ctx, func(ctx context.Context) (err error) {
			list, _, err = p.client.ConfigEntries().List(kind, consistent(ctx))
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			if !p.foreign(e) {
				names[e.GetName()] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
