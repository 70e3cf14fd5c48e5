package signature

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/internal/fault"
)

func newImage(t *testing.T, s *images.Store, content string) images.Digest {
	t.Helper()
	w, err := s.NewLayer(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := w.Add(images.Entry{Path: "a", Mode: 0o644, Size: int64(len(content))}, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	l, err := w.Commit("a")
	if err != nil {
		t.Fatal(err)
	}
	img := images.Image{Config: ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}, Layers: []images.Layer{l}}
	d, err := s.Put(t.Context(), img, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newStore(t *testing.T) *images.Store {
	t.Helper()
	s, err := images.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newKey(t *testing.T, name string) *PrivateKey {
	t.Helper()
	private, _, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParsePrivate(name, private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ecdsaPEM(t *testing.T, curve elliptic.Curve) []byte {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pkcs8(t, k)
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func mustSign(t *testing.T, s *images.Store, d images.Digest, k *PrivateKey) bool {
	t.Helper()
	added, err := Sign(t.Context(), s, d, k)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func TestSignAndVerify(t *testing.T) {
	s := newStore(t)
	d := newImage(t, s, "1")
	p256, err := ParsePrivate("p256", ecdsaPEM(t, elliptic.P256()))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []*PrivateKey{newKey(t, "ed25519"), p256} {
		if _, err := Verify(s, d, []PublicKey{k.Public}); !fault.Is(err, fault.Denied) {
			t.Fatalf("%s before it signed: %v", k.Public.Name, err)
		}
		if !mustSign(t, s, d, k) || mustSign(t, s, d, k) {
			t.Fatalf("%s: the first signature adds one, the second does not", k.Public.Name)
		}
		by, err := Verify(s, d, []PublicKey{newKey(t, "other").Public, k.Public})
		if err != nil || len(by) != 1 || by[0].ID() != k.Public.ID() {
			t.Fatalf("%s: by %v, %v", k.Public.Name, by, err)
		}
	}
	list, err := s.Referrers(d, "")
	if err != nil || len(list) != 1 {
		t.Fatalf("both signatures are one artifact: %v %v", list, err)
	}
}

func TestSigningTwiceGivesTheSameBytes(t *testing.T) {
	for _, text := range [][]byte{ecdsaPEM(t, elliptic.P256()), pkcs8(t, newKey(t, "x").signer)} {
		k, err := ParsePrivate("k", text)
		if err != nil {
			t.Fatal(err)
		}
		a, errA := k.sign([]byte("hello"))
		b, errB := k.sign([]byte("hello"))
		if errA != nil || errB != nil || !bytes.Equal(a, b) || !k.Public.verify([]byte("hello"), a) || k.Public.verify([]byte("hellO"), a) {
			t.Fatalf("%x %x %v %v", a, b, errA, errB)
		}
	}
}

func TestSignersAtOnceKeepAllSignatures(t *testing.T) {
	s := newStore(t)
	d := newImage(t, s, "1")
	keys := make([]*PrivateKey, 4)
	var all sync.WaitGroup
	for i := range keys {
		keys[i] = newKey(t, "k")
		all.Go(func() {
			if _, err := Sign(context.Background(), s, d, keys[i]); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i, k := range keys {
		if _, err := Verify(s, d, []PublicKey{k.Public}); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
}

func TestTamperedSignaturesAreRefused(t *testing.T) {
	k, other := newKey(t, "release.pub"), newKey(t, "other.pub")
	good, err := signed("sha256:"+images.Digest(strings.Repeat("0", 64)), k)
	if err != nil {
		t.Fatal(err)
	}
	wrap := func(change func(b *images.ArtifactBlob)) func(t *testing.T, s *images.Store, d images.Digest) {
		return func(t *testing.T, s *images.Store, d images.Digest) {
			b, err := signed(d, k)
			if err != nil {
				t.Fatal(err)
			}
			change(&b)
			a := images.Artifact{Subject: d, Type: images.ArtifactSignature, Blobs: []images.ArtifactBlob{b}}
			if _, err := s.PutArtifact(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
	}
	blobFile := func(s *images.Store, d images.Digest) string {
		return filepath.Join(s.Dir(), "blobs", "sha256", d.Hex())
	}
	cases := []struct {
		name string
		do   func(t *testing.T, s *images.Store, d images.Digest)
		want string
	}{
		{"none", func(*testing.T, *images.Store, images.Digest) {}, "not signed"},
		{"other key", func(t *testing.T, s *images.Store, d images.Digest) { mustSign(t, s, d, other) }, "not by this key"},
		{"other image", wrap(func(b *images.ArtifactBlob) { *b = good }), "of another image, sha256:000"},
		{"payload", wrap(func(b *images.ArtifactBlob) { b.Data = append(b.Data, ' ') }), "not by this key, or was changed"},
		{"no signature", wrap(func(b *images.ArtifactBlob) { b.Annotations = nil }), "no base64"},
		{"no base64", wrap(func(b *images.ArtifactBlob) { b.Annotations[SignatureAnnotation] = "%%" }), "no base64"},
		{"short", wrap(func(b *images.ArtifactBlob) { b.Annotations[SignatureAnnotation] = "AAAA" }), "not by this key"},
		{"media type", wrap(func(b *images.ArtifactBlob) { b.MediaType = "text/plain" }), "media type"},
		{"something else signed", wrap(func(b *images.ArtifactBlob) {
			b.Data = []byte(`{"critical":{"type":"permission to leave"}}`)
			sig, err := k.sign(b.Data)
			if err != nil {
				t.Fatal(err)
			}
			b.Annotations[SignatureAnnotation] = base64.StdEncoding.EncodeToString(sig)
		}), "something else"},
		{"blob on disk", func(t *testing.T, s *images.Store, d images.Digest) {
			mustSign(t, s, d, k)
			list, _ := s.Referrers(d, "")
			a, err := s.OpenArtifact(list[0].Digest)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(blobFile(s, images.DigestOf(a.Blobs[0].Data)), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "damaged"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			d := newImage(t, s, "1")
			c.do(t, s, d)
			_, err := Verify(s, d, []PublicKey{k.Public})
			if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "release.pub") {
				t.Fatalf("%s: %v", fault.CodeOf(err), err)
			}
			if !strings.Contains(fault.All(err)[0].Hint, "release images sign") {
				t.Errorf("hint %q", fault.All(err)[0].Hint)
			}
			mustSign(t, s, d, k) // a good one beside bad ones is enough, and mends a damaged artifact
			if _, err := Verify(s, d, []PublicKey{k.Public}); err != nil {
				t.Fatalf("after a good signature: %v", err)
			}
		})
	}
}

func TestVerifyChecksTheManifest(t *testing.T) {
	s := newStore(t)
	d := newImage(t, s, "1")
	k := newKey(t, "k")
	mustSign(t, s, d, k)
	if err := os.WriteFile(filepath.Join(s.Dir(), "blobs", "sha256", d.Hex()), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(s, d, []PublicKey{k.Public}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("a tampered manifest: %v", err)
	}
}

func TestKeyFiles(t *testing.T) {
	private, public, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		text []byte
		mode os.FileMode
		code fault.Code // "" for a good one
		want string
	}{
		{"good", private, 0o600, "", ""},
		{"read-only", private, 0o400, "", ""},
		{"group may read", private, 0o640, "", "by its group"},
		{"all may read", private, 0o644, fault.Denied, "0644"},
		{"group may write", private, 0o660, fault.Denied, "0660"},
		{"p256", ecdsaPEM(t, elliptic.P256()), 0o600, "", ""},
		{"p384", ecdsaPEM(t, elliptic.P384()), 0o600, fault.Unsupported, "only ed25519 and ECDSA P-256"},
		{"rsa", pkcs8(t, rsaKey), 0o600, fault.Unsupported, "rsa"},
		{"public", public, 0o600, fault.Invalid, "public key, a private one is wanted"},
		{"public, as all may read it", public, 0o644, fault.Invalid, "public key, a private one is wanted"},
		{"truncated", private[:len(private)/2], 0o600, fault.Invalid, "truncated"},
		{"empty", nil, 0o600, fault.Invalid, "no PEM"},
		{"twice", append(bytes.Clone(private), private...), 0o600, fault.Invalid, "more follows"},
		{"other bytes", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), 0o600, fault.Invalid, "read key"},
		{"cosign", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("x")}), 0o600, fault.Unsupported, "password"},
		{"certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), 0o600, fault.Invalid, "CERTIFICATE"},
		{"huge", bytes.Repeat([]byte("x"), maxKeyFile+1), 0o600, fault.Invalid, "no key"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
			k, err := LoadPrivate(path)
			if c.code != "" {
				if !fault.Is(err, c.code) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
					t.Fatalf("%s: %v", fault.CodeOf(err), err)
				}
				return
			}
			if err != nil || !strings.Contains(k.Warning, c.want) || (k.Warning == "") != (c.want == "") {
				t.Fatalf("%+v %v", k, err)
			}
		})
	}
	if _, err := LoadPrivate(filepath.Join(t.TempDir(), "nope")); !fault.Is(err, fault.NotFound) {
		t.Errorf("no file: %v", err)
	}
	if _, err := ParsePublic("k", private); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "private key") {
		t.Errorf("private for public: %v", err)
	}
	got, err := ParsePublic("k", public)
	if err != nil || !bytes.Equal(got.PEM(), public) || !strings.HasPrefix(got.ID(), "sha256:") {
		t.Errorf("public: %v %v", got, err)
	}
}

func TestEnvelope(t *testing.T) {
	a, b := newKey(t, "a"), newKey(t, "b")
	e, err := NewEnvelope("application/vnd.in-toto+json", []byte(`{"x":1}`), a)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.Add(b); err != nil || len(e.Signatures) != 2 {
			t.Fatalf("%v %v", e, err)
		}
	}
	data, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if e, err = ParseEnvelope(data); err != nil {
		t.Fatal(err)
	}
	payload, by, err := e.Verify([]PublicKey{b.Public})
	if err != nil || string(payload) != `{"x":1}` || len(by) != 1 {
		t.Fatalf("%s %v %v", payload, by, err)
	}
	if _, _, err := e.Verify([]PublicKey{newKey(t, "c").Public}); !fault.Is(err, fault.Denied) {
		t.Fatalf("another key: %v", err)
	}
	e.PayloadType += "x"
	if _, _, err := e.Verify([]PublicKey{a.Public}); !fault.Is(err, fault.Denied) {
		t.Fatalf("another type: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"payloadType":"x","signatures":[]}`, "[]"} {
		if _, err := ParseEnvelope([]byte(bad)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// The example of the DSSE specification's protocol.md.
func TestPreAuthEncoding(t *testing.T) {
	got := string(preAuth("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Fatalf("%q", got)
	}
}

func FuzzSignatureBlob(f *testing.F) {
	private, _, err := Generate()
	if err != nil {
		f.Fatal(err)
	}
	k, err := ParsePrivate("k", private)
	if err != nil {
		f.Fatal(err)
	}
	d := images.DigestOf([]byte("x"))
	good, err := signed(d, k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Data, good.Annotations[SignatureAnnotation])
	f.Add([]byte("{}"), "AAAA")
	f.Fuzz(func(t *testing.T, data []byte, sig string) {
		b := images.ArtifactBlob{MediaType: PayloadType, Data: data, Annotations: map[string]string{SignatureAnnotation: sig}}
		if check(d, b, k.Public) == nil && !bytes.Equal(data, good.Data) {
			t.Fatalf("accepted %q", data)
		}
	})
}

func FuzzKey(f *testing.F) {
	private, public, err := Generate()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(private)
	f.Add(public)
	f.Fuzz(func(_ *testing.T, text []byte) {
		_, _ = ParsePrivate("k", text)
		_, _ = ParsePublic("k", text)
		_, _ = ParseEnvelope(text)
	})
}
