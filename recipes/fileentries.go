package recipes

import (
	"cmp"
	"fmt"
	"time"

	"github.com/bootandshoot/release/internal/jsonschema"
	"github.com/bootandshoot/release/internal/strictyaml"
)

// repoEntry is a further archive as it is written.
type repoEntry struct {
	Name       string           `yaml:"name,required" doc:"Name of the archive in messages, pins and the lockfile."`
	URL        string           `yaml:"url,required" doc:"Address of the archive, http or https." pattern:"^https?://"`
	Suite      string           `yaml:"suite,required" doc:"Suite of the archive, such as stable."`
	Components []string         `yaml:"components" doc:"Components of the suite. Default: main."`
	Keyring    string           `yaml:"keyring,required" doc:"File of the project with the OpenPGP keys that sign the archive."`
	Node       *strictyaml.Node `yaml:"-"`
}

// pinEntry prefers versions of packages.
type pinEntry struct {
	Package  string           `yaml:"package,required" doc:"Name of a package; * and ? stand for any characters."`
	Version  string           `yaml:"version" doc:"Version; a trailing * is any end."`
	Suite    string           `yaml:"suite" doc:"Suite or name of a repository that it comes from."`
	Priority int              `yaml:"priority,required" doc:"As in apt_preferences: 500 is normal, below 0 never, above 1000 even when it is older."`
	Node     *strictyaml.Node `yaml:"-"`
}

// fileEntry is a single file.
type fileEntry struct {
	To       string           `yaml:"to,required" doc:"Absolute path of the file in the image." pattern:"^/"`
	From     string           `yaml:"from" doc:"File of the project, relative to this recipe."`
	Content  *string          `yaml:"content" doc:"The file's text, instead of from."`
	Template bool             `yaml:"template" doc:"Fill the text from vars: {{.name}}, as in Go's text/template." default:"false"`
	Owner    string           `yaml:"owner" doc:"user, user:group or uid:gid. Default: root:root."`
	Mode     mode             `yaml:"mode" doc:"Permissions in octal. Default: 0755 for an executable of the project, else 0644."`
	Node     *strictyaml.Node `yaml:"-"`
}

// extensionEntry is a plug-in of an app.
type extensionEntry struct {
	Name    string           `yaml:"name,required" doc:"Name of the extension; each is there once."`
	Version string           `yaml:"version,required" doc:"Version, as people call it."`
	Source  string           `yaml:"source,required" doc:"Address of an archive (http or https), or of a git repository when ref is given; a folder or archive of the project when it begins with ./ or ../."`
	SHA256  string           `yaml:"sha256" doc:"SHA-256 of the archive in hex. Default: the lockfile's." pattern:"^[0-9a-fA-F]{64}$"`
	Ref     string           `yaml:"ref" doc:"Branch, tag or commit of the repository."`
	Path    string           `yaml:"path,required" doc:"Absolute path of the folder in the image that gets the content." pattern:"^/"`
	Strip   int              `yaml:"strip" doc:"How many leading folders of the archive's paths are left out. Default: 0." minimum:"0" maximum:"9"`
	Owner   string           `yaml:"owner" doc:"user, user:group or uid:gid. Default: root:root."`
	Node    *strictyaml.Node `yaml:"-"`
}

// testEntry is a check of the booted image.
type testEntry struct {
	Cmd    command          `yaml:"cmd" doc:"Command that must end with 0: text for /bin/sh -c, or a program and its arguments as a list."`
	User   string           `yaml:"user" doc:"User that runs the command. Default: root."`
	HTTP   *httpTestEntry   `yaml:"http" doc:"Request that must be answered as said, instead of cmd."`
	Within span             `yaml:"within" doc:"How long the test is tried again or may take, such as 30s. Default: 30s."`
	Node   *strictyaml.Node `yaml:"-"`
}

type httpTestEntry struct {
	Path   string           `yaml:"path" doc:"Path of the request. Default: /." pattern:"^/"`
	Port   int              `yaml:"port" doc:"Port in the image. Default: the first of ports." minimum:"1" maximum:"65535"`
	Host   string           `yaml:"host" doc:"Host header of the request. Default: localhost."`
	Status int              `yaml:"status" doc:"Status of the answer. Default: 200." minimum:"100" maximum:"599"`
	Body   string           `yaml:"body" doc:"Regular expression (RE2) that the answer's body must match."`
	Node   *strictyaml.Node `yaml:"-"`
}

// span is a time span as text.
type span time.Duration

// UnmarshalText reads "500ms", "10s" or "1m30s".
func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a duration such as 500ms, 10s or 1m30s", text)
	}
	*s = span(d)
	return nil
}

// JSONSchema of a span.
func (*span) JSONSchema() *jsonschema.Schema { return &jsonschema.Schema{Type: "string"} }

// or is the span, or the default when none was written.
func (s span) or(d time.Duration) time.Duration { return cmp.Or(time.Duration(s), d) }

// allowEntry lets the search for secrets pass something.
type allowEntry struct {
	Path   string           `yaml:"path,required" doc:"Absolute path in the image; * stands for any characters but a slash, ** for any. env:NAME, label:NAME, annotation:NAME, command and history are parts of its configuration." pattern:"^(/|(env|label|annotation):|command$|history$)"`
	Rule   string           `yaml:"rule" doc:"Rule that may find something there. Default: every rule."`
	Reason string           `yaml:"reason,required" doc:"Why this is no secret."`
	Node   *strictyaml.Node `yaml:"-"`
}
