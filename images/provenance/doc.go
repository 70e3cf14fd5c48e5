// Package provenance says of an image how and from what it was made: SLSA provenance v1 in an in-toto statement v1.
//
// The statement's subject is the image. Its build definition has the type BuildType: external parameters are what the
// person who baked chose (recipe with its digest, target, platform), internal parameters the epoch, resolved dependencies
// all that came from elsewhere, each with its digest: base image, Debian packages, downloads, git commits, extensions. Run
// details name the builder and, as by-products, the bills of materials by their digests: a signature of the provenance
// covers them. There is no time of day, no host and no user in it: the same bake gives the same statement.
//
// # In the store
//
// An unsigned statement is an artifact of type images.ArtifactStatement with the statement as its one blob. A signed one is
// of type images.ArtifactAttestation: a DSSE envelope (package signature) with the annotation predicateType, as cosign
// verify-attestation --type slsaprovenance1 reads it.
//
// Sources: slsa.dev/spec/v1.0/provenance, in-toto/attestation spec/v1/statement.md.
package provenance
