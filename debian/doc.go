// Package debian holds the formats of Debian's packages: control paragraphs (deb822), versions and their order, and
// relations between packages. It reads no file and no network.
//
//	debian            paragraphs, versions, relations, Package
//	debian/archive    signed release files, package indexes and downloads from mirrors
//	debian/resolve    which packages a request needs
//	debian/deb        the content of a .deb file
//	debian/install    packages laid out and configured as an installed system
//
// Sources: deb822(5), deb-version(7), deb-control(5), Debian Policy chapters 5 and 7.
package debian
