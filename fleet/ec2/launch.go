package ec2

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/instance"
)

// place is where and as what a node is tried.
type place struct {
	subnet, kind string
	spot         bool
}

// places are all of them for a slot, in order: spot before on demand if the slot is to be one, the preferred type in each zone
// before the next type. The order depends on the slot alone, so that a launch that is repeated meets its own client tokens.
func (d *Driver) places(slot int) (all []place) {
	markets := []bool{false}
	if spotSlot(slot, d.opts.Spot) {
		markets = []bool{true, false}
	}
	for _, spot := range markets {
		for _, kind := range d.opts.Types {
			for i := range d.opts.Subnets {
				all = append(all, place{d.opts.Subnets[(slot+i)%len(d.opts.Subnets)], kind, spot})
			}
		}
	}
	return all
}

// spotSlot spreads percent spot instances evenly over the slots: of any number n of slots from 0 on, n·percent/100 are, rounded down.
func spotSlot(slot, percent int) bool { return (slot+1)*percent/100 > slot*percent/100 }

// launch makes a node's instance at the first place that has one. A node that was launched before is that one.
func (d *Driver) launch(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec) (machine, error) {
	if n.Slot < 0 || n.Slot > mostSlot {
		return machine{}, badSlot(n)
	}
	settings, err := settingsOf(spec, n)
	if err != nil {
		return machine{}, err
	}
	if len(settings) > mostSettings {
		return machine{}, fault.New(fault.Invalid, "the settings of the node have %d bytes, user data at most %d", len(settings), mostSettings).
			WithHint("give the app a file or a secret store to read instead of large variables")
	}
	var last error
	for _, p := range d.places(n.Slot) {
		m, err := d.launchAt(ctx, spec, n, p, settings)
		var api smithy.APIError
		if err == nil || !errors.As(err, &api) || !lacks(api.ErrorCode()) {
			return m, err
		}
		d.log.InfoContext(ctx, "AWS has no such machine there now", "node", n.Name, "subnet", p.subnet, "type", p.kind, "spot", p.spot, "error", err)
		last = err
	}
	return machine{}, last
}

// settingsOf is the user data of a node, as the machine's agent reads it: host name and environment, secrets among it.
func settingsOf(spec fleet.Spec, n fleet.NodeSpec) ([]byte, error) {
	env := maps.Clone(spec.Env)
	if env == nil {
		env = map[string]string{}
	}
	if spec.Port != 0 {
		env["PORT"] = strconv.Itoa(spec.Port)
	}
	maps.Copy(env, spec.Secrets)
	return instance.Settings{Hostname: n.Name, Environment: env}.Encode()
}

// mostSettings is the limit of user data in bytes, before base64. [EC2 user guide: instance user data]
const mostSettings = 16384

func (d *Driver) launchAt(ctx context.Context, spec fleet.Spec, n fleet.NodeSpec, p place, settings []byte) (machine, error) {
	token := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s %s %v", d.opts.Installation, spec.Fleet, n.Name, p.subnet, p.kind, p.spot))
	nodeTags := d.nodeTags(spec, n)
	in := &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: aws.String(hex.EncodeToString(token[:])),
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String(d.nameOf(spec.Fleet)), Version: aws.String("1")},
		InstanceType:   types.InstanceType(p.kind), SubnetId: aws.String(p.subnet), UserData: aws.String(base64.StdEncoding.EncodeToString(settings)),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: nodeTags},
			{ResourceType: types.ResourceTypeVolume, Tags: d.fleetTags(spec.Fleet)}}}
	if p.spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: &types.SpotMarketOptions{
			SpotInstanceType: types.SpotInstanceTypeOneTime, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorTerminate}}
	}
	out, err := d.ec2.RunInstances(ctx, in)
	if err != nil {
		return machine{}, err
	}
	if len(out.Instances) != 1 {
		return machine{}, fmt.Errorf("run an instance: AWS says it made %d", len(out.Instances))
	}
	instance := out.Instances[0]
	instance.Tags = nodeTags // answers need not have them yet
	m, _ := d.machineOf(ctx, instance)
	if m.ends() {
		return machine{}, fault.New(fault.Conflict, "the instance that was launched for this name, %s, has ended", m.id).WithHint("a name is never used again: replace the node")
	}
	d.remember(m)
	return m, nil
}
