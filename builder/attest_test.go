package builder_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/provenance"
	"github.com/bootandshoot/release/images/signature"
	"github.com/bootandshoot/release/internal/fault"
)

func signingKey(t *testing.T) *signature.PrivateKey {
	t.Helper()
	private, _, err := signature.Generate()
	if err != nil {
		t.Fatal(err)
	}
	k, err := signature.ParsePrivate("release.key", private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func attached(t *testing.T, s *images.Store, d images.Digest) map[string]images.Digest {
	t.Helper()
	list, err := s.Referrers(d, "")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]images.Digest{}
	for _, r := range list {
		if found[r.Type] != "" {
			t.Errorf("two artifacts of type %s", r.Type)
		}
		found[r.Type] = r.Digest
	}
	return found
}

const attestRecipe = "base: scratch\ncopy: [{from: app.txt, to: /srv/app.txt}]\nports: [8080]\nentrypoint: [/srv/app.txt]\n"

func TestBakeDescribesItsImage(t *testing.T) {
	p := newProject(t)
	p.write("app.txt", "hello", 0o644)
	res := p.bake(attestRecipe)
	first := attached(t, p.store, res.Image)
	if len(first) != 3 || first[images.ArtifactSPDX] == "" || first[images.ArtifactCycloneDX] == "" || first[images.ArtifactStatement] == "" {
		t.Fatalf("attached %v", first)
	}
	found, err := provenance.Find(p.store, res.Image)
	if err != nil || len(found) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	def := found[0].Statement.Predicate.Definition
	recipe, err := os.ReadFile(filepath.Join(p.dir, "app.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if def.External.Recipe.URI != "app.yaml" || def.External.Recipe.Digest["sha256"] != images.DigestOf(recipe).Hex() || def.External.Target != "container" {
		t.Errorf("external parameters %+v", def.External)
	}
	if bytes.Contains(found[0].Data, []byte(p.dir)) {
		t.Error("a path of this machine is in the provenance")
	}
	bill, err := p.store.OpenArtifact(first[images.ArtifactSPDX])
	if err != nil {
		t.Fatal(err)
	}
	products := found[0].Statement.Predicate.Run.Products
	if len(products) != 2 || products[0].Digest["sha256"] != images.DigestOf(bill.Blobs[0].Data).Hex() {
		t.Errorf("by-products %+v", products)
	}
	if !bytes.Contains(bill.Blobs[0].Data, []byte("./srv/app.txt")) {
		t.Errorf("the file is not in the bill: %s", bill.Blobs[0].Data)
	}
	if again := attached(t, p.store, p.bake(attestRecipe).Image); again[images.ArtifactStatement] != first[images.ArtifactStatement] {
		t.Error("a bake of nothing new wrote new provenance")
	}
	other := newProject(t)
	other.write("app.txt", "hello", 0o644)
	elsewhere := attached(t, other.store, other.bake(attestRecipe).Image)
	for kind, d := range first {
		if elsewhere[kind] != d {
			t.Errorf("%s has digests %s and %s", kind, d, elsewhere[kind])
		}
	}
	commented := attached(t, p.store, p.bake(attestRecipe+"# changed\n").Image)
	if len(commented) != 3 || commented[images.ArtifactStatement] == first[images.ArtifactStatement] {
		t.Errorf("another recipe gave the same image, and the provenance says the old one: %v", commented)
	}
}

func TestBakeSigns(t *testing.T) {
	p, key := newProject(t), signingKey(t)
	p.write("app.txt", "hello", 0o644)
	sign := func(o *builder.Options) { o.Sign = key }
	res := p.bake(attestRecipe, sign)
	keys := []signature.PublicKey{key.Public}
	check := func(what string) map[string]images.Digest {
		t.Helper()
		if _, err := signature.Verify(p.store, res.Image, keys); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		found, err := provenance.Find(p.store, res.Image)
		if err != nil || len(found) != 1 || found[0].SignedBy(keys) == nil {
			t.Errorf("%s: provenance %v %v", what, found, err)
		}
		return attached(t, p.store, res.Image)
	}
	first := check("signed bake")
	p.bake(attestRecipe)
	if again := check("unsigned bake of the same"); again[images.ArtifactAttestation] != first[images.ArtifactAttestation] {
		t.Error("an unsigned bake took signed provenance away")
	}
	p.bake(attestRecipe + "# changed\n")
	check("unsigned bake of another recipe")
	p.bake(attestRecipe+"# changed\n", sign)
	check("signed bake of another recipe")
	other := signingKey(t)
	p.bake(attestRecipe+"# changed\n", func(o *builder.Options) { o.Sign = other })
	check("bake signed by another key too")
	if _, err := signature.Verify(p.store, res.Image, []signature.PublicKey{other.Public}); err != nil {
		t.Error(err)
	}
}

func TestBakeSignsWhatWasBakedUnsigned(t *testing.T) {
	p, key := newProject(t), signingKey(t)
	p.write("app.txt", "hello", 0o644)
	p.bake(attestRecipe)
	res := p.bake(attestRecipe, func(o *builder.Options) { o.Sign = key })
	got := attached(t, p.store, res.Image)
	if got[images.ArtifactStatement] != "" || got[images.ArtifactAttestation] == "" || got[images.ArtifactSignature] == "" {
		t.Errorf("attached %v", got)
	}
}

// What somebody else says of an image, under the marks of a bake too, is not signed by one.
func TestBakeSignsOnlyWhatItSays(t *testing.T) {
	p, key := newProject(t), signingKey(t)
	p.write("app.txt", "hello", 0o644)
	res := p.bake(attestRecipe)
	list, err := p.store.Referrers(res.Image, images.ArtifactStatement)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	forged, err := provenance.Build{Name: "app", Builder: "https://builder.example"}.Statement(res.Image)
	if err != nil {
		t.Fatal(err)
	}
	if err := provenance.Attach(t.Context(), p.store, res.Image, forged, nil, list[0].Annotations, list[0].Digest); err != nil {
		t.Fatal(err)
	}
	if err := provenance.Attach(t.Context(), p.store, res.Image, append(forged, ' '), nil, nil); err != nil {
		t.Fatal(err)
	}
	p.bake(attestRecipe, func(o *builder.Options) { o.Sign = key })
	all, err := provenance.Find(p.store, res.Image)
	if err != nil {
		t.Fatal(err)
	}
	signed := 0
	for _, f := range all {
		if f.SignedBy([]signature.PublicKey{key.Public}) == nil {
			continue
		}
		signed++
		if f.Statement.Predicate.Run.Builder.ID == "https://builder.example" {
			t.Errorf("the bake signed %s", f.Data)
		}
	}
	if signed != 1 {
		t.Errorf("%d statements of %d are signed", signed, len(all))
	}
}

// An image whose description cannot be written is not listed.
func TestBakeThatCannotDescribeListsNothing(t *testing.T) {
	p := newProject(t)
	p.write("app.txt", "hello", 0o644)
	if err := os.WriteFile(filepath.Join(p.store.Dir(), "referrers"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.try(attestRecipe); err == nil {
		t.Fatal("the bake did not fail")
	}
	if _, err := p.store.Resolve("app"); !fault.Is(err, fault.NotFound) {
		t.Fatalf("the image is listed: %v", err)
	}
}

// What is not baked is not paid for: the third bake is as quick as looking.
func TestNoOpBakeStaysQuick(t *testing.T) {
	p := newProject(t)
	p.write("app.txt", strings.Repeat("hello", 1<<20), 0o644)
	later := func(o *builder.Options) { // the source's times have settled, so that its hash is kept
		o.Now = func() time.Time { return time.Now().Add(time.Minute) }
	}
	p.bake(attestRecipe)
	p.bake(attestRecipe, later)
	if took := p.bake(attestRecipe, later).Seconds; took > 1 {
		t.Errorf("a bake of nothing new took %.3f s", took)
	}
}

// What is listed with an image and is not about it, or cannot be read, stops no bake: it makes place for what is.
func TestBakeReplacesForeignDescriptions(t *testing.T) {
	statement := func(t *testing.T, d images.Digest) []byte {
		t.Helper()
		data, err := provenance.Build{Name: "app"}.Statement(d)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, spoil := range map[string]func(t *testing.T, p *project, d, other images.Digest, ours map[string]string, list string){
		"a list that is no JSON": func(t *testing.T, _ *project, _, _ images.Digest, _ map[string]string, list string) {
			if err := os.WriteFile(list, []byte("{\"manifests\": [{"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"the list of another image": func(t *testing.T, p *project, _, other images.Digest, _ map[string]string, list string) {
			data, err := os.ReadFile(filepath.Join(p.store.Dir(), "referrers", other.Hex()+".json"))
			if err == nil {
				err = os.WriteFile(list, data, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"a statement about another image": func(t *testing.T, p *project, d, other images.Digest, ours map[string]string, _ string) {
			attach(t, p, d, images.ArtifactStatement, statement(t, other), ours)
		},
		"somebody's statement about another image": func(t *testing.T, p *project, d, other images.Digest, _ map[string]string, _ string) {
			attach(t, p, d, images.ArtifactStatement, statement(t, other), nil)
		},
		"no statement": func(t *testing.T, p *project, d, _ images.Digest, ours map[string]string, _ string) {
			attach(t, p, d, images.ArtifactStatement, []byte("hello"), ours)
		},
		"no envelope": func(t *testing.T, p *project, d, _ images.Digest, ours map[string]string, _ string) {
			attach(t, p, d, images.ArtifactAttestation, []byte("hello"), ours)
		},
		"artifacts that are gone": func(t *testing.T, p *project, d, _ images.Digest, _ map[string]string, _ string) {
			for _, a := range attached(t, p.store, d) {
				if err := os.Remove(filepath.Join(p.store.Dir(), "blobs/sha256", a.Hex())); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.write("app.txt", "other", 0o644)
			other := p.bake(attestRecipe).Image
			p.write("app.txt", "hello", 0o644)
			image := p.bake(attestRecipe).Image
			list, err := p.store.Referrers(image, images.ArtifactStatement)
			if err != nil || len(list) != 1 || image == other {
				t.Fatal(list, err, image, other)
			}
			spoil(t, p, image, other, list[0].Annotations, filepath.Join(p.store.Dir(), "referrers", image.Hex()+".json"))
			for _, recipe := range []string{attestRecipe, attestRecipe + "# changed\n"} {
				if again := p.bake(recipe).Image; again != image {
					t.Fatalf("it is another image: %s", again)
				}
				if found, err := provenance.Find(p.store, image); err != nil || len(found) != 1 {
					t.Errorf("provenance %v %v", found, err)
				}
				if got := attached(t, p.store, image); len(got) != 3 || got[images.ArtifactSPDX] == "" || got[images.ArtifactCycloneDX] == "" {
					t.Errorf("attached are %v", got)
				}
			}
			if found, err := provenance.Find(p.store, other); err != nil || len(found) != 1 {
				t.Errorf("of the other image: %v %v", found, err)
			}
		})
	}
}

func attach(t *testing.T, p *project, d images.Digest, kind string, data []byte, notes map[string]string) {
	t.Helper()
	if _, err := p.store.PutArtifact(t.Context(), images.Artifact{Subject: d, Type: kind, Annotations: notes,
		Blobs: []images.ArtifactBlob{{MediaType: kind, Data: data}}}); err != nil {
		t.Fatal(err)
	}
}
