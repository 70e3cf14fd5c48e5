// Package ec2 runs the nodes of fleets as instances of Amazon EC2, from images that package ami makes.
//
// What it makes, all of it tagged release.installation and release.fleet and nothing else ever touched; the name is
// "release-<installation>-" and 16 hex digits of the fleet's id:
//
//   - one launch template a fleet: image, security groups, instance profile, metadata by version 2 only. No environment, no secrets.
//   - one Auto Scaling group a fleet, over the given subnets. The orchestrator names nodes, ensures them one by one and replaces
//     them; so the group is told not to: ReplaceUnhealthy, AZRebalance, AlarmNotification, ScheduledActions and InstanceRefresh are
//     suspended before it has its first instance, and its desired capacity is always the number of its instances.
//   - one instance a node, launched from the template with a client token made of the node's name: however often it is asked for,
//     there is one. It is attached to the group once it runs. Further tags: release.node, release.slot, release.image, release.port;
//     release.removed once it is to go, release.quarantined while it is kept out of the group.
//
// # What is different from a container
//
// EC2 does not tell how a system ended, only that it did: Exit has a reason and no code. So jobs (fleet.Once) are refused, and so
// are volumes. An instance's size is its type: Resources are refused. EC2 forgets an instance about an hour after its end.
//
// Lists are eventually consistent. A node that this driver launched a moment ago and that is not listed yet is reported as unknown,
// never left out. Secrets are in the instance's user data, which whoever may call ec2:DescribeInstanceAttribute in the account reads.
package ec2
