// Package disk makes bootable machine disks out of the layers of an image and a kernel: pure Go, no root, no loop mounts, no
// other programs. The same inputs give the same bytes, on any machine, at any time.
//
// # On disk
//
// A GPT disk of 512-byte sectors. All parts begin at full MiB.
//
//	0          protective MBR, GPT header, 128 entries
//	1 MiB      "esp": EFI system partition, FAT32 of 96 MiB, with EFI/BOOT/BOOTX64.EFI and nothing else
//	97 MiB     "root-<id>": ext4, written from the image's layers, padded with zeros
//	…          "hash-<id>": dm-verity's superblock (one block of 4096 bytes) and hash tree of the root
//	last MiB   the second GPT at its end
//
// <id> is the first 16 digits of the root hash, so two releases on one machine are told apart. The GUIDs of the disk and its
// partitions are hashes of the root hash and the partition's name (UUID version 8, RFC 9562); every file has the one given
// time. What is zero is not written: the file is sparse.
//
// # The root
//
// The tree that images.Files gives, as a tar stream into hcsshim's tar2ext4: owners, device nodes and
// extended attributes come from the records in the layers, so no privilege is needed. Files lie layer by layer from the lowest on, in byte
// order of paths; the machine's own layer comes before all. Folders and inodes follow. So an app that gets longer moves little of the disk,
// which counts where only changed blocks are uploaded. Content is checked against the digests
// of its layers' records on the way. Files with one origin are hard links again. The file system is marked read-only for
// good; it has the name of no folder that the image lacks, except lost+found, since the overlay adds mount points.
//
// # Verity
//
// The kernel's format version 1 (Documentation/admin-guide/device-mapper/verity.rst): SHA-256, blocks of 4096 bytes, no salt,
// for the same bytes shall have the same hash; levels of the tree from the root down. The root hash and the number of data
// blocks stand on the command line. The superblock is for tools: nobody believes it.
//
// # Booting
//
// BOOTX64.EFI is a unified kernel image: systemd's stub with the sections .osrel, .cmdline, .initrd and .linux appended. Where
// firmware checks signatures, one signature covers kernel, initrd and the command line, hence every byte of the root.
// A machine that gets kernel, initrd and command line directly (Result) boots the same disk without firmware.
//
// The initrd is a cpio archive in the format newc:
//
//	init           package internal/bootinit, the only program
//	dev/console    where the kernel lets it speak
//	modules/<n>-<name>.ko   kernel modules in the order in which they are loaded, n with three digits
//
// The modules are the wanted ones with all that they depend on. That is read from the modules themselves: a kernel's package
// holds no modules.dep, which depmod writes when it is installed.
//
// The command line is the contract with internal/bootinit:
//
//	release.root=<hash>:<blocks>      the root hash in hex, and how many blocks of the root it covers
//	release.data=<label>:<path>       a file system with that label is mounted there, writable; any number of them
//	init=<path>                       the first program of the system; default /sbin/init
//
// # Other forms
//
// WriteQCOW2 gives a raw disk in the format qcow2 version 3: clusters of 64 KiB, zero clusters left out, the others plain or
// compressed with zstd. The header is in the first cluster, the rest in this order: refcount table, refcount blocks, level 1
// table, level 2 tables, data.
package disk
