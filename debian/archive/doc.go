// Package archive brings Debian packages from mirrors to the disk, verified on every step of the way:
//
//	keyring → InRelease (or Release and Release.gpg), signed → Packages, by size and sha256 → .deb, by size and sha256
//
// No mirror is built in. A Source says where a suite lies and with which keys its release file is signed; MachineSources finds
// the sources of a Debian release in what the machine has.
//
// # What is refused
//
// A release file is taken when at least one of its signatures is good and none is bad. A good signature is by a key of the
// source's keyring that is allowed to sign, neither expired nor revoked, no weak one (RSA below 2048 bits, DSA), over SHA-256 or
// better. Nothing but what is signed is read: text before or after the signed part is an error.
//
// Then it is refused when it is past its Valid-Until (Options.AllowExpired takes it, as old snapshots need), when its date is
// in the future, both with Skew to spare, when its Codename and Suite are others than the one asked for, and when it is older
// than one seen before for the same source (Options.AllowOlder). A mirror whose release file is refused is passed over for
// the next; when none is left, the errors of all are shown.
//
// An index must have the size and sha256 of the release file, packed and unpacked. All sizes are bounded by what was
// signed, release files by maxRelease and indexes by maxIndex.
//
// # The cache
//
// In the cache folder, which may be shared with other processes at any time:
//
//	downloads/<sha256>            packages; the layout is that of internal/download
//	archive/releases/<key>.json   the last release file of a source: {"schema","url","validator","text","signature"}; checked
//	                              again, signature and all, each time it is used
//	archive/newest/<key>.json     {"date"} of the newest release file seen for a source, by its name, suite and keyring: against replays
//	archive/indexes/<sha256>      indexes, unpacked, by the hash that the release file gives for them; hashed again when read
//
// All of archive may be deleted: it is fetched again, and only the guard against replays starts anew. Indexes that no kept
// release file names are removed when a new release file came.
//
// # Mirrors
//
// The mirrors of a source are asked in their order. One that cannot be connected to is not asked again by this Client while
// another one is there; a file that a mirror does not have, or has with other content, is asked of the next one. Failures
// that may pass are tried again after a growing pause; what has come of a file is kept and continued, at any mirror.
// One that sends nothing for stall, or less than a KiB, counts as failed; after patience without a byte of a file it is given up.
package archive
