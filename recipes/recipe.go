package recipes

import (
	"io/fs"

	"github.com/bootandshoot/release/internal/strictyaml"
)

// Position is a place in a recipe.
type Position = strictyaml.Pos

// Recipe is one recipe with all it includes, validated. Lists hold the included steps first, in the order of `include`,
// then its own.
type Recipe struct {
	Path string // absolute path of the file
	Dir  string // its folder
	Root string // the project's folder, links resolved; no source lies outside it
	Name string // `name`, else the file's name without its ending

	// Files are the recipe files as positions name them, in the order in which their steps come: included ones first.
	Files []string

	Base         Base
	Packages     []Package // in the order of the file, each once
	Recommends   bool
	Repositories []Repository
	Pins         []Pin

	Vars        map[string]string
	FileEntries []File
	Extensions  []Extension
	Copy        []Copy
	Fetch       []Fetch
	Git         []Git
	Run         []Run
	Env         map[string]string
	User        string // "" is root; else name, uid, name:group or uid:gid
	Services    map[string]Service
	Tests       []Test
	Allow       []Allow
	Ports       []int
	Labels      map[string]string
	Machine     *Machine // nil: the recipe says nothing of machines, which is no reason not to be one
	Workdir     string   // absolute; "" is /
	Entrypoint  []string // the command as `entrypoint` has it; Command also looks at Services
	Places      Places
	Ignore      *Ignore // what .releaseignore files leave out of copies; never nil
}

// Places says where single values stand: "user", "command" (of entrypoint), "env:NAME", "label:NAME".
type Places map[string]Position

// Base is what the image is built on. Exactly one of Scratch, Debian, Path and Reference is set.
type Base struct {
	Scratch   bool
	Debian    *Debian
	Path      string // absolute path of an OCI layout folder or a docker-archive tar
	Reference string // registry reference with a tag or a digest, as written
	Pos       Position
}

// Copy puts a file or folder of the project into the image.
type Copy struct {
	From   string       // as written
	Source string       // absolute path of the file or folder, links resolved; below Recipe.Root
	To     string       // absolute clean path in the image of the file itself, or of the folder that gets the content
	Owner  string       // "" is root:root
	Mode   *fs.FileMode // nil is the default; set-id and sticky bits are Go's, fs.ModeSetuid and so on
	Dir    string       // folder of the recipe file that names the step
	Pos    Position
}

// Fetch downloads a file.
type Fetch struct {
	URL    string       // http or https
	SHA256 string       // 64 hex digits, lower case; "" when only the lockfile pins it
	To     string       // absolute clean path of the file in the image; "" when only unpacked
	Unpack string       // absolute clean path of the folder that gets the archive's content; "" for none
	Owner  string       // "" is root:root
	Mode   *fs.FileMode // nil is the default; set-id and sticky bits are Go's, fs.ModeSetuid and so on
	Dir    string
	Pos    Position
}

// Git puts a commit's files into the image.
type Git struct {
	URL string
	Ref string // branch, tag or commit
	To  string // absolute clean path of the folder in the image
	Dir string
	Pos Position
}

// Run executes a command in the image's root.
type Run struct {
	Cmd     []string // program and arguments; a command given as text is {"/bin/sh", "-c", text}
	Network bool     // true makes the image not reproducible
	Env     map[string]string
	User    string   // "" is root
	Workdir string   // absolute; "" is the recipe's workdir
	Secrets []string // names of build secrets, each once
	Dir     string   // folder of the recipe file that names the step
	Pos     Position
}

// Input is one file, folder or link below a copy's source.
type Input struct {
	Path string      // slash-separated, relative to the source; "." is the source itself
	Abs  string      // path on disk
	Mode fs.FileMode // type and permissions on disk; only regular files, folders and links
	Size int64       // bytes of a regular file
	Link string      // what a link says, as it is
}
