package archive

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/bootandshoot/release/internal/fault"
)

// maxSignatures bounds how many signatures of a file are looked at.
const maxSignatures = 64

// verdict is what the signatures of a file are worth.
type verdict struct {
	good    []string // fingerprints of the keys that signed
	unknown []string // keys that are not in the keyring
	useless []string // keys of the keyring that do not count, with why
	bad     []string // keys whose signature does not fit the content
}

// openInRelease takes the signed text out of a file that has its signature inside, and checks it.
func openInRelease(data []byte, keys openpgp.EntityList, now time.Time) (text string, signers []string, err error) {
	if !bytes.HasPrefix(data, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return "", nil, errNotSigned()
	}
	block, rest := clearsign.Decode(data)
	if block == nil {
		return "", nil, errNotSigned()
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return "", nil, fault.New(fault.Denied, "something follows its signature")
	}
	signers, err = checkSignatures(block.Bytes, block.ArmoredSignature.Body, keys, now)
	return string(block.Plaintext), signers, err
}

// openRelease checks a file whose signature is in another.
func openRelease(data, signature []byte, keys openpgp.EntityList, now time.Time) (text string, signers []string, err error) {
	body := io.Reader(bytes.NewReader(signature))
	if bytes.HasPrefix(bytes.TrimSpace(signature), []byte(armorStart)) {
		block, err := armor.Decode(body)
		if err != nil || block.Type != openpgp.SignatureType {
			return "", nil, errNotSigned()
		}
		body = block.Body
	}
	signers, err = checkSignatures(data, body, keys, now)
	return string(data), signers, err
}

func errNotSigned() error {
	return fault.New(fault.Denied, "it is no signed release file").
		WithHint("see what the address gives in a browser: a proxy or login page may answer instead of the mirror")
}

// checkSignatures gives the fingerprints of the keys whose signature is good, at least one, or why none counts.
func checkSignatures(message []byte, signatures io.Reader, keys openpgp.EntityList, now time.Time) ([]string, error) {
	var v verdict
	packets := packet.NewReader(signatures)
	for range maxSignatures {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			return v.good, v.err()
		}
		sig, ok := p.(*packet.Signature)
		if err != nil || !ok {
			return nil, fault.New(fault.Denied, "its signature cannot be read: %w", errors.Join(err, errors.New("damaged or no signature")))
		}
		v.add(message, sig, keys, now)
	}
	return nil, fault.New(fault.Denied, "it has more than %d signatures", maxSignatures)
}

// err is nil when the signatures are worth something.
func (v *verdict) err() error {
	switch {
	case len(v.bad) > 0:
		return fault.New(fault.Denied, "the signature by key %s does not fit its content: it was changed after it was signed", strings.Join(v.bad, ", ")).
			WithHint("try again in some minutes or use another mirror; a cache on the way may mix old and new")
	case len(v.good) > 0:
		return nil
	case len(v.useless) > 0:
		return fault.New(fault.Denied, "no signature counts: %s", strings.Join(v.useless, "; ")).
			WithHint("get the archive's present keys: for Debian update the package debian-archive-keyring, else give the new file with keyring:")
	case len(v.unknown) > 0:
		return fault.New(fault.Denied, "it is signed by %s, none of which is in the keyring", strings.Join(v.unknown, ", ")).
			WithHint("if this is the archive you want, compare the key with what its maintainers publish and give it with keyring:; for Debian update the package debian-archive-keyring")
	}
	return fault.New(fault.Denied, "it has no signature")
}

// add judges one signature.
func (v *verdict) add(message []byte, sig *packet.Signature, keys openpgp.EntityList, now time.Time) {
	id := signedBy(sig)
	var found []openpgp.Key
	if sig.IssuerKeyId != nil {
		found = keys.KeysById(*sig.IssuerKeyId)
	}
	switch why := weakness(sig, found); {
	case len(found) == 0:
		v.unknown = append(v.unknown, id)
		return
	case why != "":
		v.useless = append(v.useless, id+" "+why)
		return
	}
	var raw bytes.Buffer
	if err := sig.Serialize(&raw); err != nil {
		v.useless = append(v.useless, fmt.Sprintf("%s cannot be checked (%v)", id, err))
		return
	}
	// A signature that was made a moment ago by a clock ahead of ours is no signature of the future.
	if ahead := sig.CreationTime.Sub(now); ahead > 0 && ahead <= Skew {
		now = sig.CreationTime
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	_, signer, err := openpgp.VerifyDetachedSignature(keys, bytes.NewReader(message), &raw, config)
	var broken pgperrors.SignatureError
	switch {
	case err == nil:
		v.good = append(v.good, fmt.Sprintf("%X", signer.PrimaryKey.Fingerprint))
	case errors.Is(err, pgperrors.ErrKeyExpired):
		v.useless = append(v.useless, id+" is expired")
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		v.useless = append(v.useless, id+" was revoked")
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		v.useless = append(v.useless, id+" signed, and the signature does not hold at this machine's time")
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		v.useless = append(v.useless, id+" is not meant for signing")
	case errors.As(err, &broken):
		v.bad = append(v.bad, id)
	default:
		v.useless = append(v.useless, fmt.Sprintf("%s cannot be checked (%v)", id, err))
	}
}

// signedBy names the key that signed, as exactly as the signature does.
func signedBy(sig *packet.Signature) string {
	switch {
	case len(sig.IssuerFingerprint) > 0:
		return fmt.Sprintf("%X", sig.IssuerFingerprint)
	case sig.IssuerKeyId != nil:
		return fmt.Sprintf("%016X", *sig.IssuerKeyId)
	}
	return "an unnamed key"
}

// weakness says why a signature is not worth checking; "" when it is.
func weakness(sig *packet.Signature, found []openpgp.Key) string {
	if sig.SigType != packet.SigTypeBinary && sig.SigType != packet.SigTypeText {
		return "made a signature that is not for a file"
	}
	switch sig.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
	default:
		return "signed over a weak hash"
	}
	for _, key := range found {
		switch bits, err := key.PublicKey.BitLength(); {
		case key.PublicKey.PubKeyAlgo == packet.PubKeyAlgoDSA:
			return "is a DSA key, which is too weak"
		case (key.PublicKey.PubKeyAlgo == packet.PubKeyAlgoRSA || key.PublicKey.PubKeyAlgo == packet.PubKeyAlgoRSASignOnly) && (err != nil || bits < 2048):
			return fmt.Sprintf("is an RSA key of %d bits, which is too weak", bits)
		}
	}
	return ""
}

// signedText is the text of a release file that was checked before.
func signedText(data []byte) string {
	if block, _ := clearsign.Decode(data); block != nil {
		return string(block.Plaintext)
	}
	return string(data)
}
