package recipes

import (
	"io/fs"
	"regexp"
	"strconv"

	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// file is a recipe as it is written.
type file struct {
	Name       string                 `yaml:"name" doc:"Name of the image. Default: the file's name without its ending."`
	Base       *baseEntry             `yaml:"base" doc:"What the image is built on."`
	Include    []string               `yaml:"include" doc:"Recipes to read first, relative to this file."`
	Packages   []string               `yaml:"packages" doc:"Debian packages, as apt writes them: name, name=version (a trailing * is any end), name/suite, or name- to keep one out." pattern:"^[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(=[A-Za-z0-9.+:~*-]+|/[A-Za-z0-9.-]+)?$"`
	Recommends *bool                  `yaml:"recommends" doc:"Install what packages recommend, too. Default: false."`
	Repos      []repoEntry            `yaml:"repositories" doc:"Further archives of Debian packages, each with its own keys."`
	Pins       []pinEntry             `yaml:"pins" doc:"Which version of a package is taken, as in apt_preferences."`
	Vars       map[string]string      `yaml:"vars" doc:"Values for the templates of files."`
	Files      []fileEntry            `yaml:"files" doc:"Single files, from the project or written here, as they are or filled from vars."`
	Copy       []copyEntry            `yaml:"copy" doc:"Files and folders of the project that go into the image."`
	Fetch      []fetchEntry           `yaml:"fetch" doc:"Downloads that go into the image."`
	Git        []gitEntry             `yaml:"git" doc:"Commits whose files go into the image."`
	Extensions []extensionEntry       `yaml:"extensions" doc:"Plug-ins of an app: what is in an image is listed, locked and compared by name and version."`
	Run        []runEntry             `yaml:"run" doc:"Commands that run in the image while it is made, isolated and without network."`
	Env        map[string]string      `yaml:"env" doc:"Environment variables of the image."`
	User       string                 `yaml:"user" doc:"User that the image runs as: name, uid, name:group or uid:gid. Default: root."`
	Services   map[string]serviceSpec `yaml:"services" doc:"Programs that the image runs."`
	Tests      []testEntry            `yaml:"tests" doc:"What must hold of the booted image before it gets its name."`
	Allow      []allowEntry           `yaml:"allow" doc:"What the search for secrets may find, with the reason."`
	Ports      []int                  `yaml:"ports" doc:"Ports that the app listens on; the first is also in $PORT." minimum:"1" maximum:"65535"`
	Labels     map[string]string      `yaml:"labels" doc:"Labels of the image."`
	Workdir    string                 `yaml:"workdir" doc:"Folder in the image that its command and run steps begin in. Default: /." pattern:"^/"`
	Machine    *machineEntry          `yaml:"machine" doc:"What the image needs to boot as a machine, where other things than the defaults."`
	Entrypoint []string               `yaml:"entrypoint" doc:"Program and arguments that the image runs, instead of services."`
	Node       *strictyaml.Node       `yaml:"-"`
}

type copyEntry struct {
	From  string           `yaml:"from,required" doc:"File or folder, relative to this recipe."`
	To    string           `yaml:"to,required" doc:"Absolute path in the image; a folder gives its content to it, a file lies in it when it ends in a slash." pattern:"^/"`
	Owner string           `yaml:"owner" doc:"user, user:group or uid:gid. Default: root:root."`
	Mode  mode             `yaml:"mode" doc:"Permissions in octal, for everything that is copied. Default: 0755 for folders and executables, else 0644."`
	Node  *strictyaml.Node `yaml:"-"`
}

type fetchEntry struct {
	URL    string           `yaml:"url,required" doc:"Address of the file, http or https." pattern:"^https?://"`
	SHA256 string           `yaml:"sha256" doc:"SHA-256 of the file in hex. Default: the lockfile's." pattern:"^[0-9a-fA-F]{64}$"`
	To     string           `yaml:"to" doc:"Absolute path of the file in the image." pattern:"^/"`
	Unpack string           `yaml:"unpack" doc:"Absolute path of the folder in the image that gets the content of the archive." pattern:"^/"`
	Mode   mode             `yaml:"mode" doc:"Permissions of the file in octal. Default: 0644."`
	Owner  string           `yaml:"owner" doc:"user, user:group or uid:gid. Default: root:root."`
	Node   *strictyaml.Node `yaml:"-"`
}

type gitEntry struct {
	URL  string           `yaml:"url,required" doc:"Repository: https, http, ssh, git or file, or user@host:path."`
	Ref  string           `yaml:"ref,required" doc:"Branch, tag or commit."`
	To   string           `yaml:"to,required" doc:"Absolute path of the folder in the image." pattern:"^/"`
	Node *strictyaml.Node `yaml:"-"`
}

type runEntry struct {
	Cmd     command           `yaml:"cmd,required" doc:"Text for /bin/sh -c, or a program and its arguments as a list."`
	Network bool              `yaml:"network" doc:"Give the command the network; the image is then not reproducible." default:"false"`
	Env     map[string]string `yaml:"env" doc:"Environment variables of the command, besides those of the image."`
	User    string            `yaml:"user" doc:"User that runs the command. Default: root."`
	Dir     string            `yaml:"dir" doc:"Folder in the image that the command begins in. Default: the recipe's workdir." pattern:"^/"`
	Secrets []string          `yaml:"secrets" doc:"Names of build secrets that the command finds in /run/secrets; release bake --secret gives their values."`
	Node    *strictyaml.Node  `yaml:"-"`
}

type serviceSpec struct {
	Cmd     []string          `yaml:"cmd,required" doc:"Program and arguments; no shell."`
	Restart string            `yaml:"restart" doc:"When the service is started again after it ended. Default: no; the image then ends with it." enum:"always,on-failure,no"`
	User    string            `yaml:"user" doc:"User that the service runs as. Default: the image's."`
	Env     map[string]string `yaml:"env" doc:"Environment variables of the service, besides those of the image."`
	Dir     string            `yaml:"dir" doc:"Folder in the image that the service begins in. Default: the recipe's workdir." pattern:"^/"`
	After   []string          `yaml:"after" doc:"Services that are started before this one and stopped after it."`
	Stop    stopEntry         `yaml:"stop" doc:"How the service is stopped."`
	Node    *strictyaml.Node  `yaml:"-"`
}

type stopEntry struct {
	Signal string `yaml:"signal" doc:"Signal that asks the service to end. Default: TERM." enum:"TERM,INT,QUIT,HUP,USR1,USR2,WINCH"`
	Grace  span   `yaml:"grace" doc:"How long it may take until it is killed, such as 10s. Default: 10s."`
}

// baseEntry is "scratch" or a mapping.
type baseEntry struct {
	Scratch bool
	baseMap
	Node *strictyaml.Node
}

type baseMap struct {
	Image    string   `yaml:"image" doc:"Registry reference with a tag or a digest, or the path of an OCI layout folder or docker-archive tar that begins with ./, ../ or /."`
	Debian   string   `yaml:"debian" doc:"Debian release by its code name, such as bookworm: its essential and required packages and apt." pattern:"^[a-z][a-z0-9.-]*$"`
	Mirrors  []string `yaml:"mirrors" doc:"Addresses of Debian's archive, first choice first. Default: RELEASE_DEBIAN_MIRROR, else those of this machine's apt."`
	Security []string `yaml:"security_mirrors" doc:"Addresses of Debian's security archive; mirrors needs them too, but for sid."`
	Expired  bool     `yaml:"allow_expired" doc:"Take release files that are past their date, or older than one seen before, as mirrors of a past day have them." default:"false"`
	Keyring  string   `yaml:"keyring" doc:"File with the OpenPGP keys that sign the archive. Default: this machine's Debian keyring."`
}

// UnmarshalNode takes both forms.
func (b *baseEntry) UnmarshalNode(n *strictyaml.Node, path string) error {
	b.Node = n
	if n.Kind == strictyaml.Text && n.Text == "scratch" {
		b.Scratch = true
		return nil
	}
	if n.Kind != strictyaml.Map {
		return strictyaml.WrongKind(n, path, "scratch or a mapping").WithHint("base: {debian: bookworm}, base: {image: debian:bookworm-slim}, or base: scratch")
	}
	errs := strictyaml.DecodeAt(n, &b.baseMap, path)
	switch {
	case len(errs) > 0:
	case b.Image == "" && b.Debian == "":
		errs = append(errs, n.Pos.Errorf("%s needs image or debian", path))
	case b.Image != "" && len(n.Entries) > 1:
		errs = append(errs, n.Pos.Errorf("%s.image stands alone: the other keys are for debian", path))
	}
	return errs.Err()
}

// JSONSchema of both forms.
func (*baseEntry) JSONSchema() *jsonschema.Schema {
	image, release := jsonschema.For[baseMap](), jsonschema.For[baseMap]()
	image.Required, release.Required = []string{"image"}, []string{"debian"}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Const: "scratch"}, image, release}}
}

// command is text for a shell or a list.
type command []string

// UnmarshalNode takes both forms.
func (c *command) UnmarshalNode(n *strictyaml.Node, path string) error {
	words, err := strictyaml.DecodeCommand(n, path)
	*c = words
	return err
}

// JSONSchema of both forms.
func (*command) JSONSchema() *jsonschema.Schema { return jsonschema.Command() }

// mode is permissions in octal. It must be text: readers of YAML disagree on what the number 0644 is.
type mode struct{ perm *fs.FileMode }

var modePattern = regexp.MustCompile(`^[0-7]{3,4}$`)

// UnmarshalNode reads "0644".
func (m *mode) UnmarshalNode(n *strictyaml.Node, path string) error {
	if n.Kind != strictyaml.Text {
		return strictyaml.WrongKind(n, path, strictyaml.Text.String())
	}
	if !modePattern.MatchString(n.Text) {
		return n.Pos.Errorf(`%s %q must be three or four octal digits such as "0644"`, path, n.Text)
	}
	bits, err := strconv.ParseUint(n.Text, 8, 32)
	if err != nil {
		return err
	}
	perm := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			perm |= flag
		}
	}
	m.perm = &perm
	return nil
}

// JSONSchema of a mode.
func (*mode) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: modePattern.String()}
}

// Schema is the JSON Schema of recipes.
func Schema() []byte {
	data, err := jsonschema.Generate("https://raw.githubusercontent.com/bootandshoot/release/main/docs/schema/recipe.schema.json", "A recipe", file{})
	if err != nil {
		panic(err) // the types are fixed; a test generates it
	}
	return data
}
