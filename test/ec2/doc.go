// Package ec2 plays the life of an app on EC2 with the built binary, against an AWS in the process of the test (fleet/ec2/awstest) whose
// instances answer at addresses on loopback, behind a load balancer: machines are baked and uploaded, fleets launched and routed to, replaced, rolled back and shot.
package ec2
