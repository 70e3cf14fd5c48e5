// Package qemu is the fleet driver that runs nodes as QEMU machines of this machine. All machines of an image share its kernel, its
// initrd and its disk, which they only read; what a machine writes is in its memory and gone with it. They boot the kernel directly, with
// the kernel's virtualisation where that can be used, else emulated.
//
// Node number SLOT is reached at 127.0.0.1, at the first port of the range plus SLOT, which QEMU passes on to the port that the image
// declares. A node reaches programs of this machine at 10.0.2.2. It is not reached otherwise.
//
// # On disk
//
//	nodes/NAME/record.json   what the node is; see record
//	nodes/NAME/machine       the folder of its machine (package machine), with
//	nodes/NAME/machine/log   the output of its services, and
//	nodes/NAME/machine/exit  how they ended, both written by the machine (package machinechannel)
//	kernels/DIGEST           an image's kernel unpacked, by the digest of the packed one; made when missing
//	volumes/…/disk           a volume; see local.Volumes
//	trash/                   folders of removed nodes on their way out
//
// A record is written twice: "booting" before anything else is done for the node, and "started" when QEMU runs. A crash in between may
// leave a QEMU that nobody has recorded; the next driver finds it by its folder, and clears the node away. Since a job's command may have
// begun in it, a job is not run again: it then has ended without an exit. Records hold no environment, and settings go to QEMU in memory:
// secrets are in no file.
//
// # Volumes
//
// A volume is a file with an ext4, a disk of one machine at a time, which the machine finds by its label and mounts before anything of the image
// runs (command boot-init). That no two machines have it is kept by the records of nodes, and by QEMU's lock on the file. A file system is written
// by one system only, so there are none of many writers. Since what was written last is in the machine's memory, a machine with volumes is not
// killed once its grace is over: its services are, and it powers off.
//
// # What it cannot do
//
// Files are copied out of a machine only while it runs, and changes of its files are not found: its disk cannot change, and its memory is its
// own.
package qemu
