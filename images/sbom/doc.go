// Package sbom makes the bill of materials of an image: what is really in it, as SPDX 2.3 or CycloneDX 1.6 in JSON.
//
// # What is listed
//
//   - Debian packages that dpkg's records call installed, with source package and licence, as pkg:deb/<distribution>/<name>@<version>.
//   - Go modules of every Go program, from its build information, the standard library included: pkg:golang/….
//   - Python distributions (*.dist-info, *.egg-info) and npm packages (package.json below node_modules) that no Debian
//     package owns: pkg:pypi/…, pkg:npm/….
//   - What the bake got from elsewhere and says in Inputs: downloads with their SHA-256, git commits, extensions.
//   - Every file with SHA-1 and SHA-256 that no Debian package owns, dpkg's own records excepted.
//
// A package owns a file when its list names the path and the file is still the one that came with it: in an image that was
// installed here, one of a layer of packages, not of what scripts, steps or builds put in its place; in any other, one of the
// layer that has the package's list. So an image of dpkg's that was flattened to one layer, or whose files were given other
// owners or modes in a layer of their own, is taken by its word, and in the second case lists those files.
//
// A licence is stated where a copyright file in Debian's machine-readable form names only licences that have an SPDX
// identifier; anything else is NOASSERTION. Nothing is asked of the network.
//
// # Same image, same bytes
//
// A document depends on the image and the Inputs alone. Its time is the image's creation time, which is its epoch; the
// namespace (SPDX) and the serial number (CycloneDX) come from the digest of the image and the Inputs.
//
// # The cache
//
// What a layer's files say is found out once and kept in cache/sbom/<two digits>/<hex of the layer's digest> of the store: a
// line of JSON (layerFacts), then the lists of files that dpkg keeps, one after the other. Facts are keyed by the content of the
// file that says them, so that it does not matter which layer brought it. A file that cannot be read is made again. SHA-1
// sums are added when a file turns out to be nobody's.
package sbom
