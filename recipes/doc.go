// Package recipes reads recipes: declarative files that say what goes into an image. It also owns the lockfile, which
// pins what a recipe gets from elsewhere, and .releaseignore, which keeps files out of copies.
//
// Reading is strict: unknown keys, wrong types, bad modes, missing files, include cycles and paths that leave the
// project are errors with file:line:column, all of them at once (a fault.List).
//
// # Paths
//
// A path in a recipe (`include`, `copy.from`, `base.image` of a local image) is relative to the folder of the recipe file that
// names it. Includes and copies may lie anywhere in the project and never outside: the project's folder is the nearest
// one, from the first recipe's folder upward, that holds release.yaml or .git; without either it is that recipe's folder.
// Links on the way to a source are followed if they stay inside; links within a copied folder are copied as links.
//
// A target (`to`, `unpack`, `workdir`, `dir`) is an absolute path in the image without "..". A copied folder gives its content
// to the target; a file becomes the target, or lies in it when the target ends in a slash.
//
// # Composing
//
// Each file of `include` is read first, in order, then the recipe's own keys are added: steps, packages, pins,
// repositories, tests, allowances and ports are appended, env, labels, vars and services are merged by name, and base,
// recommends, user, workdir and entrypoint are replaced. A file that is included twice counts once. An own entrypoint
// replaces included services and the other way round.
//
// # .releaseignore
//
// The syntax is that of .gitignore, negation included. A file counts in the project's folder and in each folder on the way
// down to what a step copies, that one included; its patterns are relative to its own folder, deeper files win. A .git
// entry is never copied: its content differs between two clones of the same commit.
//
// # Lockfile
//
// `<recipe>.lock` lies beside the recipe. It is YAML with a schema version and sorted lists, so that a changed pin is
// a changed line. A recipe has either a base image or a Debian release; a package is one line of text (LockedPackage), and
// sum is over all lines that decide on an architecture's packages, so that one that was lost does not make another image:
//
//	schema: 2
//	base:
//	  image: debian:bookworm-slim
//	  digest: sha256:…
//	  date: 2024-02-03T04:05:06Z
//	debian:
//	  request:
//	    - debian bookworm
//	    - package nginx-light
//	  suites:
//	    - name: bookworm
//	      date: 2024-02-03T04:05:06Z
//	  packages:
//	    amd64:
//	      sum: base 1 added 1 sha256 …
//	      base:
//	        - name version architecture suite size sha256 path
//	      added:
//	        - name version architecture suite size sha256 path
//	extensions:
//	  - name: seo
//	    version: 4.1.2
//	    source: https://…
//	    sha256: …
//	    size: 1234
//	fetch:
//	  - url: https://…
//	    sha256: …
//	    size: 1234
//	git:
//	  - url: https://…
//	    ref: v1.2.3
//	    commit: …
//	    date: 2024-02-03T04:05:06Z
//
// Schema 1 is the same without sums.
package recipes
