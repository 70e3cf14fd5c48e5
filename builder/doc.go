// Package builder bakes recipes into images: it resolves what a recipe gets from elsewhere, runs its steps, makes a
// layer of each and puts the image into the store. It needs no daemon.
//
// # Order
//
// A bake goes from the top of the recipe to its end, as a reader does: the base first, then the groups `copy`, `files`,
// `fetch`, `extensions`, `git` and `run` in the order in which they stand in the file, and the steps of a group in theirs.
// The steps of an included file come before those of the file that includes it. So a `run` sees what stands above it and
// nothing that stands below: a recipe with `copy` above `run` can change what was copied, one with `run` above `copy`
// installs its tools once and leaves a changed program on top, in one small layer. env, user, workdir, labels, ports and the
// command belong to the image as a whole and have no order; env holds in every run step.
//
// # Layers
//
// The base's layers stay as they are; a Debian release as a base is installed in two stages, its own packages and then
// those of the recipe, each of several layers (debian/install). Each step is one layer, so that a changed file moves its
// own step's layer only. A run step that changes nothing has none. A layer holds nothing that depends on when, where or by
// whom it was made: the time of everything is the epoch, owners and modes come from records (the recipe, the archive, the
// lower layers), paths are in byte order.
//
// A folder of the image that a step copies into keeps its owner and mode, and links to folders are followed inside the
// image (/bin/x lands in /usr/bin/x where /bin is a link). Missing folders above the target are root's, mode 0755.
//
// What runs the services of an image is its last layer, if the recipe asks for more than running one command: the
// supervisor and its file in /usr/lib/release, and where the image has systemd the same services as enabled units in
// /etc/systemd/system.
//
// # Tests
//
// The tests of a recipe run against the image before it is listed: a sandbox is booted from its layers as a node would be,
// with its command, environment, user and $PORT, and a network of its own that has nothing but a loopback. Commands run
// beside the image's own once its first port answers; requests are made from inside that network. An image without a
// command, or whose command did its work and ended with 0, has its commands run in a sandbox with nothing else. The first
// test that fails ends the bake. The sandbox is attached: it ends with the bake, however that ends.
//
// A machine is booted as well, in QEMU, from the stored disk and with everything that it writes thrown away. It must say on its console
// that its services start, show that it is well, and answer the recipe's requests; commands run in the sandbox, which has the
// same root. What the console said is kept.
//
// Run steps and tests of an image for another architecture run by an emulator (sandbox.Emulator).
//
// # Same inputs, same image
//
// The epoch is SOURCE_DATE_EPOCH when the caller gives it, else the newest date in the lockfile, else 0. Run steps see
// it, a fixed host name, UTC, C.UTF-8, one CPU, umask 022 and no network. `network: true` marks the image with the
// annotation release.reproducible=false. What run steps leave in /proc, /sys, /dev and /tmp is not part of the image, nor
// are sockets and the files of /run; folders of /run are.
//
// # Secrets
//
// No image is listed that holds a secret: every layer, also what a later one removes, and the configuration are searched
// (builder/secrets) unless all files of the layer come unchanged out of verified packages. The values of build secrets are
// files in memory of the steps that name them. They are in no key, so that a step from the cache needs none; lines of output
// have them masked, and what a step wrote is searched for them before it becomes a layer.
//
// # The cache
//
// In the folder cache of the image store:
//
//	steps/<k2>/<key>.json    what a step with these inputs made: {"schema":1,"step":…,"layer":{digest,size}|null}
//	layers/<k2>/<key>.json   the layers of an installation of Debian packages: {"schema":1,"layers":[{digest,size,by}…]}
//	places/<k2>/<key>.json   where a step's files go in an image with these layers; saves reading the layers
//	tests/<k2>/<key>.json    that an image passed the tests of its recipe: {"schema":1,"image":…,"tests":[name…]}
//	machines/<k2>/<key>.json the machine of an image, as images.Machine: what its disk was made from is in the key
//	kernels/<k2>/<key>.json  the kernel, initrd and stub that come from certain packages: {"schema":1,"release":…,"kernel":…}
//	boots/<k2>/<key>.json    that a machine passed its boot test; <hex>.log is the console of an image's last one
//	bases/<key>.json         which image of the store a pinned base is
//	secrets/<k2>/<key>.json  what the search for secrets found in a layer: rules and places, never a secret
//	files/<hash>             hashes of a copy source's files by path, size, times, inode; see statcache.go
//	archive/                 release files and indexes of Debian's archives; see debian/archive
//	downloads/<sha256>       verified downloads; <sha256>.json says where from and how old; partial/ holds those under way
//	git/<hash of url>/       bare repositories
//	work/<random>/           one bake's work; its file lock is held (flock) as long as the bake lives
//
// A key is the hash of all inputs of a step: its text, the content and modes of what it copies, pins, environment, epoch,
// platform, the format version and the state it builds on: for run steps the layers below, for the others only what they
// looked up there (owners, folders, links). Nothing but the inputs is in a key.
//
// What run steps stand on, the unpacked base and layers, is the store's own (images.Store.Rootfs and LayerRoot).
//
// Every file is written whole or not at all, a record after the blob that it names, and a record whose blob is gone does
// not count. So several bakes may share a store, and one that is killed leaves a usable cache; what it left in work the next
// bake removes. An image is put last: a bake that fails leaves no image.
package builder
