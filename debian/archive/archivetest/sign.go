package archivetest

import (
	"bytes"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// At is the configuration of a key or signature that is made at a time.
func At(t time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return t }, Algorithm: packet.PubKeyAlgoEdDSA}
}

// Key makes a key as of a time.
func Key(t testing.TB, made time.Time) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("Archive", "", "archive@mirror.example", At(made))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Public is a keyring of the public parts of keys, binary.
func Public(t testing.TB, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, key := range keys {
		if err := key.Serialize(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// Keyring are the site's public keys.
func (s *Site) Keyring() []byte { return Public(s.t, s.Keys...) }

// InRelease is a release file signed at a time, with the signatures in it.
func InRelease(t testing.TB, rel []byte, signed time.Time, keys ...*openpgp.Entity) []byte {
	t.Helper()
	private := make([]*packet.PrivateKey, len(keys))
	for i, key := range keys {
		private[i] = key.PrivateKey
	}
	var out bytes.Buffer
	w, err := clearsign.EncodeMulti(&out, private, At(signed))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(rel)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
