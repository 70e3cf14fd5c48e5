// Package ami makes machine images of EC2 (AMIs) out of raw disks, without a builder instance: blocks are written into a
// snapshot by the EBS direct APIs, and the snapshot is registered as an image.
//
// # What moves
//
// A disk is cut in blocks of 512 KiB, each known by its SHA-256. Without a previous disk all blocks move that are not zero; with one
// (Disk.Previous) only those that differ from it, and the new snapshot is a child of the previous one's.
//
// # What is kept
//
// At AWS, as tags of snapshots and images, and nothing without them is ever touched:
//
//	release.installation  id of the installation
//	release.disk          digest of the disk's bytes
//	release.parent        of a snapshot: digest of the disk whose snapshot is its parent, or "none"
//	release.blocks        of a snapshot: how many blocks were written, set when it was completed and is whole
//	release.snapshot      of an image that was registered, not copied: its snapshot
//	release.image         of an image: what the caller calls it (the digest of the image in the store)
//
// In a folder of the caller's, where nothing is missed that gets lost but time:
//
//	<digest>.sums               checksums of a disk's blocks, 32 bytes each, zeros for a block of zeros
//	<digest>.<region>.written   which blocks a snapshot has already, see progress.go
//
// # After a kill
//
// Every call may be repeated. The next upload finds a snapshot that was begun by its tags and goes on with it, blocks that
// were acknowledged are not sent again, and an image that was registered or copied is found by its name. What nobody
// goes on with is found by Orphans; AWS itself ends a snapshot that got no block for an hour.
package ami
