package config

import (
	"encoding/json"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// Position is a place in a configuration file.
type Position = strictyaml.Pos

// DefaultEnv is the environment that needs no overlay.
const DefaultEnv = "production"

// App is one release.yaml with one environment's overlay merged and all defaults filled in. As JSON it is complete and
// reads back equal: this is how it travels to the agent and is kept in the journal.
type App struct {
	App    string `yaml:"app,required" json:"app" doc:"Name of the app: 1 to 20 of a-z, 0-9 and -, beginning with a letter." pattern:"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$"`
	Env    string `yaml:"-" json:"env"`
	Recipe string `yaml:"recipe,omitempty" json:"recipe,omitempty" doc:"The recipe, or a Dockerfile, relative to this file. Not needed when images are always given by name."`
	// Fleet, Health and Route are those of the one role of an app without Roles; with Roles they are zero, and each role has
	// its own.
	Fleet      Fleet           `yaml:"fleet,omitempty" json:"fleet" doc:"The nodes that run a release; with roles, what they have in common."`
	Health     Health          `yaml:"health,omitempty" json:"health" doc:"How it is proven that a node is well; with roles, what they have in common. Without a kind of check: a TCP connection to the image's first port."`
	Route      Route           `yaml:"route,omitempty" json:"route" doc:"The entry that users reach. Needed without roles; with roles each has its own."`
	Roles      map[string]Role `yaml:"roles,omitempty" json:"roles,omitempty" doc:"Parts of the app by name, each with nodes of its own, launched and cut over together as one release."`
	Cutover    Cutover         `yaml:"cutover" json:"cutover" doc:"How traffic moves from one release to the next."`
	Hooks      Hooks           `yaml:"hooks,omitempty" json:"hooks,omitzero" doc:"Commands that the agent runs at points of an operation, in order."`
	Jobs       map[string]Job  `yaml:"jobs,omitempty" json:"jobs,omitempty" doc:"Commands with a name that run in nodes of their own, by a schedule or by hand."`
	Migrations *Migrations     `yaml:"migrations,omitempty" json:"migrations,omitempty" doc:"How the app's database follows its releases."`
	Schema     *SchemaRange    `yaml:"schema,omitempty" json:"schema,omitempty" doc:"The versions of the database's schema that the release runs on. Default: any."`
	Require    Require         `yaml:"require,omitempty" json:"require,omitzero" doc:"What an image must show before it runs."`

	// Promote is the environment whose images this one takes, by release promote; "": it bakes its own. It is not part of a
	// release.
	Promote string `yaml:"-" json:"-"`

	path  string
	root  *strictyaml.Node
	roles map[string]*App // the app of each role, made once; nil: made when asked for
}

// Path is the absolute path of the file the app was loaded from; "" for an app that came as JSON.
func (a *App) Path() string { return a.path }

// At is the place of the value at a path of keys and indexes, e.g. At("cutover", "steps", 1), or of the nearest value
// above it that the file has; the zero Position for an app that came as JSON.
func (a *App) At(path ...any) Position { return a.root.Locate(path...) }

// UnmarshalJSON fills in the defaults of keys that the version that wrote the JSON did not know: an app on record is as
// complete as one that is read now, and equal to it when the file is.
func (a *App) UnmarshalJSON(data []byte) error {
	type plain App
	var p plain
	strictyaml.Defaults(&p)
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	*a = App(p)
	if len(a.Roles) > 0 {
		a.Fleet, a.Health, a.Route = Fleet{}, Health{}, Route{} // each role has its own
	}
	a.split()
	return nil
}

// MaxSize is the largest Fleet.Size.
const MaxSize = 1000

// Fleet is the nodes of one release in one environment.
type Fleet struct {
	Driver    string            `yaml:"driver,omitempty" json:"driver,omitempty" doc:"What runs the nodes: isolated processes, containers, machines, services of a Docker Swarm, or instances of EC2. Default: docker where a Docker engine answers, else sandbox." enum:"sandbox,docker,qemu,swarm,ec2"`
	Hosts     Engines           `yaml:"hosts,omitempty,flow" json:"hosts,omitempty" doc:"Docker engines over which the nodes are spread: ssh://[user@]host, tcp://host:2376 with TLS, unix:///path. Default: the agent's own engine."`
	LostAfter Duration          `yaml:"host_lost_after,omitempty" json:"host_lost_after,omitempty" doc:"With hosts: how long one may not answer before its nodes are replaced elsewhere, at least 5s. Default: 1m."`
	Size      int               `yaml:"size" json:"size" doc:"Number of nodes." default:"1" minimum:"1" maximum:"1000"`
	Resources Resources         `yaml:"resources,omitempty" json:"resources" doc:"Limits of each node."`
	Stop      Stop              `yaml:"stop" json:"stop" doc:"How a node is asked to end."`
	Env       map[string]string `yaml:"env,omitempty" json:"env,omitempty" doc:"Environment variables of every node, besides those of the image."`
	Replace   Replace           `yaml:"replace,omitempty" json:"replace,omitzero" doc:"Bounds of replacing nodes that run but are unhealthy. Nodes that are gone are booted again all the same."`
	// The nodes of an aborted release that are kept, and how long any node stays in quarantine.
	QuarantineOnFailure int               `yaml:"quarantine_on_failure,omitempty" json:"quarantine_on_failure,omitempty" doc:"How many nodes of an aborted release are kept in quarantine, those that failed first. Default: none." minimum:"1" maximum:"100"`
	QuarantineFor       Duration          `yaml:"quarantine_for" json:"quarantine_for" doc:"How long a node stays in quarantine, unless release quarantine --for says otherwise; then it is shot." default:"2h"`
	Secrets             map[string]string `yaml:"secrets,omitempty" json:"secrets,omitempty" doc:"Environment variables whose values the agent reads at each start of a node: file:/path or env:NAME." pattern:"^(file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"`
	Volumes             []Volume          `yaml:"volumes,omitempty" json:"volumes,omitempty" doc:"Data that outlives the nodes, each of the role alone. Default: none."`
	Swarm               Swarm             `yaml:"swarm,omitempty" json:"swarm,omitzero" doc:"Where in a Docker Swarm nodes run, and what of it they have, where the driver is swarm."`
	EC2                 EC2               `yaml:"ec2,omitempty" json:"ec2,omitzero" doc:"Where, and as what, instances run, where the driver is ec2."`
	Drift               Drift             `yaml:"drift" json:"drift,omitzero" doc:"What happens to a node that differs from its image."`
}

// Resources limits one node; zero means no limit.
type Resources struct {
	CPUs   float64 `yaml:"cpus,omitempty" json:"cpus,omitempty" doc:"CPU cores, e.g. 0.5. Default: no limit." minimum:"0.01" maximum:"1024"`
	Memory Bytes   `yaml:"memory,omitempty" json:"memory,omitempty" doc:"Memory, e.g. 512MiB; at least 6MiB. Default: no limit."`
}

// Replace bounds how many unhealthy nodes are replaced; 0 is the default, which follows the fleet's size.
type Replace struct {
	MaxInFlight int `yaml:"max_in_flight,omitempty" json:"max_in_flight,omitempty" doc:"Nodes replaced at the same time. Default: a quarter of the fleet, at least 1." minimum:"1" maximum:"1000"`
	MaxPerHour  int `yaml:"max_per_hour,omitempty" json:"max_per_hour,omitempty" doc:"Nodes replaced within an hour. Default: as many as the fleet has, at least 10." minimum:"1" maximum:"100000"`
}

// Stop is how a node is asked to end.
type Stop struct {
	Signal string   `yaml:"signal" json:"signal" doc:"Signal that asks the app to end, without SIG." default:"TERM" enum:"TERM,INT,QUIT,HUP,USR1,USR2,WINCH,KILL"`
	Grace  Duration `yaml:"grace" json:"grace" doc:"Time from the signal to the kill." default:"10s"`
}

// Health is a check and how its answers become a verdict. At most one of HTTP, TCP, GRPC and Exec is set; none means a
// TCP connection to the image's first port.
type Health struct {
	HTTP           *HTTPCheck `yaml:"http,omitempty" json:"http,omitempty" doc:"Well if a GET is answered with an accepted status."`
	TCP            *TCPCheck  `yaml:"tcp,omitempty" json:"tcp,omitempty" doc:"Well if a connection is accepted."`
	GRPC           *GRPCCheck `yaml:"grpc,omitempty" json:"grpc,omitempty" doc:"Well if grpc.health.v1.Health/Check says SERVING."`
	Exec           *ExecCheck `yaml:"exec,omitempty" json:"exec,omitempty" doc:"Well if a command inside the node ends with 0."`
	Interval       Duration   `yaml:"interval" json:"interval" doc:"Time between two checks of a node that has started." default:"1s"`
	Timeout        Duration   `yaml:"timeout" json:"timeout" doc:"How long one check may take." default:"500ms"`
	HealthyAfter   int        `yaml:"healthy_after" json:"healthy_after" doc:"Good checks in a row that make a node healthy." default:"2" minimum:"1" maximum:"100"`
	UnhealthyAfter int        `yaml:"unhealthy_after" json:"unhealthy_after" doc:"Bad checks in a row that take a node out of the route." default:"3" minimum:"1" maximum:"100"`
	StartWithin    Duration   `yaml:"start_within" json:"start_within" doc:"A node that is not healthy this long after its start has failed." default:"1m"`
	ReplaceAfter   Duration   `yaml:"replace_after" json:"replace_after" doc:"A node that stays unhealthy this long is replaced." default:"30s"`
}

// HTTPCheck is a GET request.
type HTTPCheck struct {
	Path   string `yaml:"path" json:"path" doc:"Path to ask for." default:"/" pattern:"^/"`
	Port   int    `yaml:"port,omitempty" json:"port,omitempty" doc:"Port; one that the image declares means the node's own. Default: the image's first." minimum:"1" maximum:"65535"`
	Status []int  `yaml:"status,omitempty,flow" json:"status,omitempty" doc:"Statuses that mean well. Default: every 2xx." minimum:"100" maximum:"599"`
}

// TCPCheck is a connection.
type TCPCheck struct {
	Port int `yaml:"port,omitempty" json:"port,omitempty" doc:"Port; one that the image declares means the node's own. Default: the image's first." minimum:"1" maximum:"65535"`
}

// GRPCCheck is a call of the standard health service.
type GRPCCheck struct {
	Port    int    `yaml:"port,omitempty" json:"port,omitempty" doc:"Port; one that the image declares means the node's own. Default: the image's first." minimum:"1" maximum:"65535"`
	Service string `yaml:"service,omitempty" json:"service,omitempty" doc:"Name of the service to ask about. Default: the server as a whole."`
}

// ExecCheck is a command.
type ExecCheck struct {
	Command []string `yaml:"command,required,flow" json:"command" doc:"Program and arguments; no shell."`
}

// Cutover is the plan for moving traffic.
type Cutover struct {
	Steps        []Step   `yaml:"steps" json:"steps" doc:"Shares of the traffic that the new release gets one after the other; the last is 100." default:"[{percent: 100}]"`
	Verdict      *Verdict `yaml:"verdict,omitempty" json:"verdict,omitempty" doc:"How the new release is compared with the old one in steps that are held. Default: as below where there is abort_on; off never compares."`
	AbortOn      *AbortOn `yaml:"abort_on,omitempty" json:"abort_on,omitempty" doc:"Limits beyond which to go back to the old release without being asked."`
	KeepPrevious Duration `yaml:"keep_previous" json:"keep_previous" doc:"How long the old fleet stays warm after the cutover." default:"15m"`
	Drain        Drain    `yaml:"drain" json:"drain" doc:"How nodes that leave the route finish what they have."`
}

// Step is one share and how long it is watched.
type Step struct {
	Percent int      `yaml:"percent,required" json:"percent" doc:"Share of all requests." minimum:"1" maximum:"100"`
	Hold    Duration `yaml:"hold,omitempty" json:"hold,omitempty" doc:"How long to watch before the next step."`
	Approve string   `yaml:"approve,omitempty" json:"approve,omitempty" doc:"Group of whom one must approve, by release approve, before the next step. Default: nobody need." pattern:"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$"`
	OneWay  bool     `yaml:"one_way,omitempty" json:"one_way,omitempty" doc:"There is no way back by itself from this step on: what goes wrong is held, and a person decides."`
}

// Drain is how what leaves the route comes to its end.
type Drain struct {
	Timeout         Duration `yaml:"timeout" json:"timeout" doc:"Longest time for requests under way to end." default:"30s"`
	Sessions        Duration `yaml:"sessions" json:"sessions" doc:"How long clients whose sticky cookie names a fleet stay on it after it lost traffic to another one. Needs route.sticky by cookie." default:"0s"`
	LongConnections Duration `yaml:"long_connections" json:"long_connections" doc:"How long WebSockets, event streams, gRPC streams and TCP connections may stay on a fleet or node that lost its traffic; then they are closed." default:"10m"`
	CloseWithin     Duration `yaml:"close_within" json:"close_within" doc:"Time over which long connections are closed, each at a moment of its own, so that their clients do not come back all at once." default:"10s"`
}
