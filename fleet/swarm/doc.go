// Package swarm runs the nodes of fleets on a Docker Swarm that exists: the Docker Engine's own, of one manager or several, by
// the API of whichever manager answers.
//
// # What it makes
//
// One service a node, named as the node, of one replica that the Swarm never restarts; all services of a fleet are a stack, so
// that docker stack ls shows one line a fleet and docker stack services its nodes. They are labelled release.installation and
// nothing else is ever touched; further labels, at the service and at its container: release.fleet, release.node, release.slot,
// release.image (manifest digest), release.kind, release.port, release.network (of the node's address; "": published),
// release.spec (version of these labels, "1"), com.docker.stack.namespace.
//
// # Why not one service of many replicas
//
// The Swarm chooses which task of a service goes when the service shrinks, and has no call that ends a certain one. The
// orchestrator drains a certain node before it shoots it, keeps a certain one in quarantine, and gives the port of a node to
// another one only when every edge has let go of it; none of that can be kept when the engine picks. So a service is one node, and
// what a Swarm does with many replicas is done here: nodes of a fleet are spread over the hosts (by constraints node.id!=…, where
// some other host that fits has fewer of them), and a node that ended is replaced by the orchestrator, which asks for a new one
// that the Swarm then places. So the storm breaker holds for it too.
//
// # Hosts
//
// What the Swarm says of hosts counts, but a host that missed its heartbeats may only be cut off from the managers, and what runs
// there may serve on. So nodes of a host that is down, or that the Swarm is not sure of, are unknown; those of one that has been down
// for Options.Lost are gone: the Swarm takes nothing back, and if the host returns, its engine ends what ran there. When no manager
// answers, or they have no leader, all are unknown.
//
// # How nodes are reached
//
// By a published port of the host that the Swarm placed the node on, which is PublishFrom plus the node's slot, in mode host:
// nothing goes through the Swarm's routing mesh. Or by the node's own address in an overlay network, where the router is part of
// that network; such addresses are the Swarm's to give, and it alone decides when one is used again.
//
// # Images
//
// They are pushed to the user's registry under the given repository, and pulled from there by digest with the credentials that the
// agent has for it. A Swarm of one host may pull from the agent's endpoint on loopback instead. Hosts pull when a node is placed
// there: a Swarm has no way to bring an image to hosts before. Nothing is ever removed from the registry or from hosts.
//
// # What a Swarm cannot do
//
// A manager reaches into the containers of its own host only, so commands, copies and looks for drift work in nodes on the hosts of
// the managers and of Options.Engines. Volumes are those of single hosts, so there are none. A node's grace is part of its service: Remove and Destroy give what the spec said.
// Environment and secrets are in the service, which the Swarm keeps encrypted, and which who may use a manager may read.
package swarm
