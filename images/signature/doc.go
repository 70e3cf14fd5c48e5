// Package signature signs images and checks their signatures, in the layout that cosign reads and writes.
//
// # Keys
//
// A private key is a PKCS #8 PEM file ("PRIVATE KEY"), ed25519 or ECDSA P-256; its file must not be open to others. A
// public key is a PKIX PEM file ("PUBLIC KEY") of the same kinds. Generate makes ed25519 keys. Cosign's own password-protected
// private keys are not read; its public keys are.
//
// # Signatures of images
//
// What is signed is a small JSON document, the payload, that names the image's digest (the "simple signing" format of
// containers/image, docs/containers-signature.5.md, as cosign uses it):
//
//	{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":"sha256:…"},
//	 "type":"cosign container image signature"},"optional":null}
//
// All signatures of an image are one artifact of type images.ArtifactSignature: a blob for each, of media type PayloadType,
// whose annotation SignatureAnnotation is the signature in base64 (cosign, specs/SIGNATURE_SPEC.md). ed25519 signs the
// payload itself, ECDSA its SHA-256 with a nonce derived from key and payload (RFC 6979), so that signing again gives the
// same bytes. Adding a key writes the artifact anew. Nothing is written to a transparency log: cosign verify needs
// --insecure-ignore-tlog.
//
// A signature covers the manifest's digest and through it configuration and layers. The digest is that of the image as
// it lies in the store; a push that compresses layers makes another digest, which needs a signature of its own.
//
// # Envelopes
//
// Statements are signed as DSSE envelopes (secure-systems-lab/dsse, protocol.md), in one file with all signatures.
package signature
