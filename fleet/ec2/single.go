package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/bootandshoot/release/fleet"
)

// A name may have two instances: AWS had no room at the first site, the second one gave an instance, nobody heard of it because the process
// died, and the next process found room at the first. No token tells AWS that the two are one. Lists choose one of them; Ensure, which is
// repeated after such a death, removes the other, and so do Remove and Destroy.

// single leaves one machine of each name, since a name is one node, and changes nothing. all are by name and age.
func (d *Driver) single(ctx context.Context, all []machine) ([]machine, error) {
	var out []machine
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].node.ID == all[0].node.ID {
			n++
		}
		m, err := d.one(ctx, all[:n])
		if err != nil {
			return nil, err
		}
		out = append(out, m)
		all = all[n:]
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range out {
		d.memory.chosen[m.node.ID] = m.id
	}
	return out, nil
}

// one is the machine of a name that counts. The group is asked only when there are several and none was chosen before.
func (d *Driver) one(ctx context.Context, same []machine) (machine, error) {
	living := slices.DeleteFunc(slices.Clone(same), func(m machine) bool { return m.removed || m.ends() })
	switch len(living) {
	case 0:
		return same[0], nil
	case 1:
		return living[0], nil
	}
	id := living[0].node.ID
	d.mu.Lock()
	before := d.memory.chosen[id]
	d.mu.Unlock()
	if i := slices.IndexFunc(living, func(m machine) bool { return m.id == before && !m.stops() }); i >= 0 {
		return living[i], nil
	}
	in, err := d.members(ctx, id.Fleet)
	if err != nil {
		return machine{}, err
	}
	return choose(living, in), nil
}

// choose is the one in the group, which may serve users already, else one that runs, else the oldest. all are by age. One that stopped is none
// as long as there is another.
func choose(all []machine, in map[string]bool) machine {
	rank := func(m machine) (r int) {
		if m.stops() {
			r += 4
		}
		if !in[m.id] {
			r += 2
		}
		if m.state != types.InstanceStateNameRunning {
			r++
		}
		return r
	}
	return slices.MinFunc(all, func(a, b machine) int { return rank(a) - rank(b) })
}

// untwin removes the instances beside those that were chosen, of the names in found. It is not waited for that.
func (d *Driver) untwin(ctx context.Context, w *work, id fleet.FleetID, found map[string]machine) error {
	all, err := d.glance(ctx, w, id)
	if err != nil {
		return err
	}
	chosen, err := d.single(ctx, all)
	if err != nil {
		return err
	}
	stays := map[string]string{}
	for _, m := range chosen {
		stays[m.node.ID.Node] = m.id
	}
	var goes []string
	for _, m := range all {
		name := m.node.ID.Node
		if _, ours := found[name]; ours && m.id != stays[name] && !m.removed && !m.ends() {
			d.log.WarnContext(ctx, "a name has two instances: one of them is removed", "node", name, "stays", stays[name], "goes", m.id)
			goes = append(goes, m.id)
		}
	}
	if len(goes) == 0 {
		return nil
	}
	if err := d.condemn(ctx, id, goes...); err != nil {
		return err
	}
	return d.terminate(ctx, true, goes...)
}
