package ec2

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/bootandshoot/release/fleet"
	"github.com/bootandshoot/release/internal/awsapi"
)

// Quarantine takes a node out of its group, which then wants one fewer, and keeps it running. Ensure does not bring it back.
// fleet.ErrNoNode when there is none.
func (d *Driver) Quarantine(ctx context.Context, id fleet.NodeID) error {
	doing := "quarantine node " + id.Node
	m, there, err := d.machine(ctx, id)
	if err != nil {
		return explain(doing, err)
	}
	if !there {
		return fmt.Errorf("%s: %w", doing, fleet.ErrNoNode)
	}
	if _, err := d.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{m.id}, Tags: tags(tagQuarantined, "true")}); err != nil {
		return explain(doing, err)
	}
	return explain(doing, d.leave(ctx, id.Fleet, m.id))
}

// ReportHealth tells the group what our probes found, for whoever looks at it or has an alarm on it. The group does nothing of its
// own with it. fleet.ErrNoNode when there is no such node, or it is in no group.
func (d *Driver) ReportHealth(ctx context.Context, id fleet.NodeID, healthy bool) error {
	doing := "report the health of node " + id.Node
	d.mu.Lock()
	m, there := d.memory.instance(id)
	d.mu.Unlock()
	var err error
	if !there {
		m, there, err = d.machine(ctx, id)
	}
	if err != nil {
		return explain(doing, err)
	}
	if !there || m.quarantined {
		return fmt.Errorf("%s: %w", doing, fleet.ErrNoNode)
	}
	status := "Unhealthy"
	if healthy {
		status = "Healthy"
	}
	_, err = d.groups.SetInstanceHealth(ctx, &autoscaling.SetInstanceHealthInput{InstanceId: aws.String(m.id), HealthStatus: aws.String(status), ShouldRespectGracePeriod: aws.Bool(false)})
	if awsapi.Is(err, "ValidationError") { // what is asked is always well-formed: no group has the instance
		return fmt.Errorf("%s: %w: %w", doing, fleet.ErrNoNode, err)
	}
	return explain(doing, err)
}
