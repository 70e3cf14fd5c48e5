// Package images keeps container images: a content-addressed store in the OCI image layout, import and export,
// the writer of reproducible layers, unpacked root file systems, and a read-only registry endpoint.
//
// # On disk
//
//	oci-layout               {"imageLayoutVersion":"1.0.0"}
//	index.json               OCI index: a descriptor for each (image, name), oldest first
//	blobs/sha256/<hex>       manifests, configs and layers; mode 0644, never written again
//	blobs/sha256/.tmp-*      blobs under way
//	blobs/sha256/.tmp-damaged-<hex>   a layer whose bytes were not those of its digest, put aside
//	referrers/<hex>.json     OCI index of the artifacts of the image with that digest, oldest first
//	pins/<installation>.json {"schema":1,"installation":…,"images":[digest…],"reasons":{digest:[text…]}}: what an agent's fleets
//	                         use, and what for; files of older agents have no reasons
//	partial/<hex>            a blob on its way from a registry; flock: held while it is fetched
//	cache/facts/<k2>/<hex>   what a layer holds, see LayerFacts; the other folders of cache/ are the builder's
//	cache/gzip/, cache/pushed.json, cache/shell/   of pushes and of throw-away sandboxes
//	gc.lock                  flock: held by a collection
//	lock                     flock: held while index.json or a pin file is read, changed and written
//	hold                     flock: shared by who relies on unreferenced content, exclusive by who deletes content
//	rootfs/<variant>/<chain>/        an unpacked image: root/ and meta.json
//	rootfs/<variant>/layer-<hex>/    one layer unpacked by itself, for a bake's overlay: see LayerRoot
//	rootfs/<variant>/<chain>.tmp/    one under way
//	rootfs/<variant>/<chain>.lock    flock: held while it is unpacked or removed
//
// The folder is a valid OCI layout for other tools. Descriptors of index.json carry the annotations
// release.name and release.created (RFC 3339, the only time of day in the store); the newest of a name also
// carries org.opencontainers.image.ref.name. The index has the annotation release.schema; a store with a newer
// schema is refused. Every file is written to a temporary name, synced, renamed and its folder synced, so a crash
// leaves the old or the new. A manifest is written after all blobs it names, the index after the manifest.
//
// Manifests and configs are canonical: the same Image gives the same bytes and digest on every machine. Layers are
// uncompressed tar, so that no digest depends on a compressor.
//
// # Several processes
//
// Any number of processes may use one store. Writers of blobs need no lock: content decides the name. Deleting
// is what needs care, and four rules make it safe:
//
//   - An image is referenced by the index or by a pin; its manifest, config and layers are referenced with it.
//   - Content is deleted only under the exclusive hold. Who relies on content that nothing references yet, such
//     as a bake between its first layer and its Put, takes the shared hold. The kernel drops both with the process.
//   - GC also spares unreferenced content younger than a grace time; WriteBlob and WriteBlobAs renew the age of
//     a blob that is already there. So a writer without a hold loses nothing within the grace time.
//   - Put and Tag check under the lock that all blobs are there, and fail before an incomplete image is listed.
//
// A blob that is read whole is compared with its digest. A layer that is damaged is put aside without any lock: as content it
// is worth nothing, and who makes or fetches it anew must not take it for what it should be. Manifests and configurations stay
// in their place, for a collection must know what they name; who writes one writes over a damaged one.
//
// Remove deletes at once what only that image used when nobody holds, and leaves it to GC otherwise. A temporary
// blob is leftover when its age is past the grace time, a half-unpacked root when its flock is free.
//
// # Artifacts
//
// What is said about an image (signature, bill of materials, provenance) is an OCI 1.1 artifact: an image manifest with
// artifactType, the image as its subject, the empty object as its configuration, and a layer for each piece of content. Manifest
// and content are blobs like any other; the list of an image's artifacts is the file referrers/<hex of its digest>.json,
// the very index that the registry endpoint answers with at /v2/<name>/referrers/<digest>. It is changed under the lock,
// after the blobs are written. Artifacts are canonical like manifests: the same Artifact has the same digest.
//
// Artifacts live as long as their subject: they are referenced with it, Remove and GC take them with it, an exported
// OCI layout has them as further entries of its index.json (with artifactType, without a name), and an import of such a
// layout brings them back. A manifest is never changed: who adds a signature writes a manifest anew that replaces the one
// before. Artifacts of artifacts are not kept.
//
// # Machines
//
// An image that also boots as a machine says so in its manifest: the annotation release.machine is the digest of a JSON (Machine)
// that names kernel, initrd, command line and disk by their digests. So the image's digest decides every byte of the machine, and
// what signs or describes the image signs and describes the machine. The JSON and the blobs it names are kept beside the image
// as an artifact, so they live and move with it. A disk is a sparse file where the file system can have one.
//
// # Root file systems
//
// Rootfs flattens an image's layers into a folder, once, for use as the read-only lower layer of an overlay. It is
// kept by chain id (the digest over its layers in order), so that images which differ only in configuration
// share it, and files of a root already unpacked from the same lower layers are hard-linked instead of written
// again: nobody may write into one. A root is a cache of one boot: it is not synced, meta.json names the boot, and
// after another boot it is unpacked anew. The folder rootfs/ has mode 0700, for it may hold setuid files.
//
// The variant says how owners are stored: "root" with all ids of the machine; "mapped-…" inside a user namespace
// with a range of ids; "single-<uid>" with one id, where everything belongs to it. In "mapped" an owner outside of
// the range becomes 0:0 without setuid and setgid. What the process may not create (device nodes, some extended
// attributes) is left out and listed in meta.json.
//
// Foreign layers are hostile until proven otherwise: entries with "..", through absolute links or links that leave
// the root, hard links to elsewhere, too many devices or entries, and sizes that the layer cannot hold are
// refused with the entry named, and the root is not created. The digest of each layer is checked while it is read.
package images
