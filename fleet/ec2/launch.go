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
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/awsapi"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/instance"
)

// launch is one node that is to be launched.
type launch struct {
	spec     fleet.Spec
	node     fleet.NodeSpec
	place    fleet.Placement
	image    string // AMI
	settings []byte // user data
}

// site is where and as what a node is tried.
type site struct {
	subnet, kind string
	spot         bool
}

// sites are all of them for a slot, in order: spot before on demand if the slot is to be one, the preferred type in each zone
// before the next type. The order depends on the slot alone, so that a launch that is repeated meets its own client tokens.
func sites(slot int, p fleet.Placement) (all []site) {
	markets := []bool{false}
	if spotSlot(slot, p.Spot) {
		markets = []bool{true, false}
	}
	for _, spot := range markets {
		for _, kind := range p.Types {
			for i := range p.Subnets {
				all = append(all, site{p.Subnets[(slot+i)%len(p.Subnets)], kind, spot})
			}
		}
	}
	return all
}

// spotSlot spreads percent spot instances evenly over the slots: of any number n of slots from 0 on, n·percent/100 are, rounded down.
func spotSlot(slot, percent int) bool { return (slot+1)*percent/100 > slot*percent/100 }

// launch makes a node's instance at the first site that has one. A node that was launched before is that one. Nothing more is launched for a
// fleet that is to be destroyed.
func (d *Driver) launch(ctx context.Context, w *work, l launch) (m machine, err error) {
	if l.node.Slot < 0 || l.node.Slot > mostSlot {
		return machine{}, badSlot(l.node)
	}
	if l.settings, err = settingsOf(l.spec, l.node); err != nil {
		return machine{}, err
	}
	if len(l.settings) > mostSettings {
		return machine{}, fault.New(fault.Invalid, "the settings of the node have %d bytes, user data at most %d", len(l.settings), mostSettings).
			WithHint("give the app a file or a secret store to read instead of large variables")
	}
	for _, at := range sites(l.node.Slot, l.place) {
		if w.over.Err() != nil {
			return machine{}, context.Cause(w.over)
		}
		m, err = d.launchAt(ctx, l, at)
		var api smithy.APIError
		if err == nil || !errors.As(err, &api) || !lacks(api.ErrorCode()) {
			return m, d.ungrounded(w, err)
		}
		d.log.InfoContext(ctx, "AWS has no such machine there now", "node", l.node.Name, "subnet", at.subnet, "type", at.kind, "spot", at.spot, "error", err)
	}
	return machine{}, err
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

func (d *Driver) launchAt(ctx context.Context, l launch, at site) (machine, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s %s %v", d.opts.Installation, l.spec.Fleet, l.node.Name, at.subnet, at.kind, at.spot))
	token, nodeTags := hex.EncodeToString(sum[:]), d.nodeTags(l.spec, l.node)
	in := &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: aws.String(token), ImageId: aws.String(l.image),
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String(d.nameOf(l.spec.Fleet)), Version: aws.String("1")},
		InstanceType:   types.InstanceType(at.kind), SubnetId: aws.String(at.subnet), UserData: aws.String(base64.StdEncoding.EncodeToString(l.settings)),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: nodeTags},
			{ResourceType: types.ResourceTypeVolume, Tags: d.fleetTags(l.spec.Fleet)}}}
	if at.spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: &types.SpotMarketOptions{
			SpotInstanceType: types.SpotInstanceTypeOneTime, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorTerminate}}
	}
	out, err := d.ec2.RunInstances(ctx, in, func(o *ec2.Options) { o.Retryer = awsapi.Once(o.Retryer, lacks) }) // the next site is tried instead
	if awsapi.Is(err, "IdempotentParameterMismatch") {
		return d.launched(ctx, token, err)
	}
	if err != nil {
		return machine{}, err
	}
	if len(out.Instances) != 1 {
		return machine{}, fmt.Errorf("run an instance: AWS says it made %d", len(out.Instances))
	}
	instance := out.Instances[0]
	instance.Tags = nodeTags // answers need not have them yet
	return d.took(ctx, instance)
}

// launched is the instance that an earlier launch with a token made, in which something was otherwise: a secret that was changed since.
func (d *Driver) launched(ctx context.Context, token string, cause error) (machine, error) {
	out, err := d.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: append(d.ours(nil), types.Filter{Name: aws.String("client-token"), Values: []string{token}})})
	if err != nil {
		return machine{}, err
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			return d.took(ctx, i)
		}
	}
	return machine{}, unavailable{fault.New(fault.Unavailable, "the instance that was launched for this name is not listed yet: %w", cause)}
}

// took takes an instance that was launched into what is known.
func (d *Driver) took(ctx context.Context, i types.Instance) (machine, error) {
	m, _ := machineOf(i)
	if m.ends() {
		return machine{}, fault.New(fault.Failed, "the instance that was launched for this name, %s, has ended", m.id).WithHint("a name is never used again: the node is replaced")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.memory.keep(time.Now(), m)
	if d.memory.chosen[m.node.ID] == "" {
		d.memory.chosen[m.node.ID] = m.id
	}
	return m, nil
}

// ungrounded sees whether a launch failed because what it is launched from is gone, or not known everywhere yet: the next try makes it.
func (d *Driver) ungrounded(w *work, err error) error {
	if !awsapi.Is(err, "InvalidLaunchTemplateName.NotFoundException", "InvalidLaunchTemplateId.NotFound", "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable") {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w.image = ""
	return unavailable{fault.New(fault.Unavailable, "what it is launched from is not there: %w", err)}
}
