// Package api is the wire format of the agent's API and its client. The API is HTTP with JSON over a unix socket
// whose file permissions are the access control; event and log answers stream, and exec upgrades its connection to
// frames (see Frame).
//
//	GET    /v1/agent                                    Agent
//	POST   /v1/agent/stop
//	GET    /v1/apps                                     Apps
//	GET    /v1/apps/{app}/{env}/status                  Status
//	POST   /v1/apps/{app}/{env}/operations              Request → Submitted
//	GET    /v1/apps/{app}/{env}/operations              History
//	POST   /v1/apps/{app}/{env}/plan                    Request → Plan: what it would do
//	GET    /v1/apps/{app}/{env}/operations/{id}?wait=S  Operation; with wait: when it ended or waits for a person, or after so many seconds
//	POST   /v1/apps/{app}/{env}/steer                   Steer → Steered
//	GET    /v1/apps/{app}/{env}/events?after=N&follow=1 Event, one JSON object a line
//	GET    /v1/apps/{app}/{env}/releases                Releases
//	GET    /v1/apps/{app}/{env}/traffic                 Traffic: what the edges have counted
//	GET    /v1/apps/{app}/{env}/previous                Previous: nodes that were removed and whose last output is kept
//	GET    /v1/apps/{app}/{env}/nodes/{node}/logs       lines as fleet.Logger has them; tail=N follow=1 since=RFC3339
//	GET    /v1/apps/{app}/{env}/nodes/{node}/files      a tar stream of path=/P
//	POST   /v1/apps/{app}/{env}/nodes/{node}/exec       Exec, then Upgrade: release-exec/1
//	POST   /v1/apps/{app}/{env}/tasks                   TaskRequest → Task: run a command once
//	GET    /v1/apps/{app}/{env}/tasks?job=NAME          Tasks
//	GET    /v1/apps/{app}/{env}/tasks/{id}?wait=S       Task; with wait: when it ended, or after so many seconds
//	POST   /v1/apps/{app}/{env}/tasks/{id}/stop         StopTask
//	GET    /v1/apps/{app}/{env}/tasks/{id}/output       lines as of a node's logs, to its end; since=RFC3339
//	POST   /v1/apps/files/missing                       Files → Files that the agent's store lacks
//	PUT    /v1/apps/files/{digest}                      the bytes of a hook's file; verified
//	POST   /v1/router/forget                            Forget: an edge serves nobody any more
//	POST   /v1/hosts/forget                             ForgetHost → Forgotten: a machine is gone for good
//	GET    /v1/hosts                                    Hosts: the machines that apps spread their nodes over
//	POST   /v1/hosts/drain                              DrainHost: nodes of a host are replaced on others
//	POST   /v1/images/missing                           Blobs → Blobs that the agent's store lacks
//	PUT    /v1/blobs/{digest}                           the bytes; verified
//	PUT    /v1/images/{digest}                          ImageName: the uploaded blobs are an image
//
// Agents that share a store answer for apps while they lead; the others answer 503 and say who does.
//
// A failed request answers with status 4xx or 5xx and {"error": Error}.
package api

// Schema names the version of the wire format and of the objects on the command line's standard output.
const Schema = "release/v1"

// SocketName is the agent's socket in its state folder.
const SocketName = "agent.sock"
