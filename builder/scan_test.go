package builder_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bootandshoot/release/builder"
	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/recipes"
)

// leaked is a token of no one: made here from chance, so that no search for leaked secrets takes this file for one.
func leaked() string {
	r := rand.New(rand.NewPCG(5, 6))
	b := []byte("gh" + "p_")
	for range 36 {
		b = append(b, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[r.IntN(62)])
	}
	return string(b)
}

func TestSecretFailsBake(t *testing.T) {
	p := newProject(t)
	p.base()
	p.write("conf/a.txt", "one\ntwo "+leaked()+"\n", 0o644)
	p.write("conf/b.txt", "fine", 0o644)
	const recipe = "base: {image: ./base}\ncopy:\n  - {from: conf, to: /etc/conf}\n"
	_, err := p.try(recipe + "run: [{cmd: \"rm /etc/conf/a.txt\"}]\n")
	var list fault.List
	if !errors.As(err, &list) || len(list) != 1 {
		t.Fatalf("error: %v", err)
	}
	e := list[0]
	if e.Code != fault.Denied || e.Line != 3 || e.Code.ExitCode() != 1 {
		t.Errorf("error: %+v", e)
	}
	for _, part := range []string{"copy conf to /etc/conf: /etc/conf/a.txt, line 2: a token of GitHub", "rule github-token", "a later step removes"} {
		if !strings.Contains(e.Message, part) {
			t.Errorf("message lacks %q: %s", part, e.Message)
		}
	}
	if strings.Contains(fmt.Sprintf("%+v", e), leaked()) {
		t.Errorf("the error tells the secret: %+v", e)
	}
	if !strings.Contains(e.Hint, `allow: [{path: "/etc/conf/a.txt", rule: github-token, reason: "…"}]`) {
		t.Errorf("hint: %s", e.Hint)
	}
	if _, err := p.store.Resolve("app"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an image is listed: %v", err)
	}
	// It stays an error when the layers come from the cache, and passes when it is allowed.
	if _, err := p.try(recipe); !fault.Is(err, fault.Denied) {
		t.Errorf("second bake: %v", err)
	}
	var notes []string
	hear := func(o *builder.Options) {
		o.Progress = func(e builder.Event) {
			if e.Kind == builder.Note {
				notes = append(notes, e.Line)
			}
		}
	}
	p.bake(recipe+"allow: [{path: /etc/*/a.txt, rule: github-token, reason: a test}, {path: \"/srv/**\", reason: nothing is there}]\n", hear)
	if text := strings.Join(notes, "\n"); !strings.Contains(text, "allow /srv/** matches nothing") || strings.Contains(text, "a.txt") {
		t.Errorf("notes: %s", text)
	}
	_, err = p.try(recipe + "allow: [{path: /etc/*/a.txt, rule: private-key, reason: another rule}]\n")
	if !fault.Is(err, fault.Denied) {
		t.Errorf("an allowance of another rule: %v", err)
	}
	_, err = p.try(recipe + "allow: [{path: /etc/a, rule: github-tokens, reason: a typo}]\n")
	if e := fault.All(err)[0]; e.Code != fault.Invalid || !strings.Contains(e.Message, "github-tokens") || e.Line != 4 {
		t.Errorf("unknown rule: %+v", e)
	}
}

func TestSecretInConfiguration(t *testing.T) {
	p := newProject(t)
	p.write("a", "a", 0o644)
	recipe := "base: scratch\ncopy: [{from: a, to: /a}]\nenv: {API: " + leaked() + "}\nlabels: {note: " + leaked() + "}\nentrypoint: [/a, --token=" + leaked() + "]\n"
	_, err := p.try(recipe)
	var list fault.List
	if !errors.As(err, &list) || len(list) != 3 {
		t.Fatalf("error: %v", err)
	}
	for i, where := range []string{"app.yaml:3:7: env:API", "app.yaml:4:10: label:note", "app.yaml:5:13: command"} {
		if !strings.HasSuffix(strings.Split(list[i].Error(), ": a token of GitHub")[0], where) {
			t.Errorf("no finding at %s: %v", where, list)
		}
	}
	if strings.Contains(list.Error(), leaked()) {
		t.Errorf("the error tells the secret: %v", list)
	}
}

// TestCheckSecrets looks into an image that no bake made.
func TestCheckSecrets(t *testing.T) {
	p := newProject(t)
	p.write("a.txt", "two "+leaked()+"\n", 0o644)
	made := p.bake("base: scratch\ncopy: [{from: a.txt, to: /etc/a.txt}, {from: a.txt, to: /etc/b.txt}]\nallow: [{path: \"/etc/*\", reason: a test}]\n")
	img, err := p.store.Get(made.Image)
	if err != nil {
		t.Fatal(err)
	}
	img.Layers[1].CreatedBy = "RUN echo " + leaked() + " > /etc/b.txt"
	img.Config.Config.Env = append(img.Config.Config.Env, "API="+leaked())
	d, err := p.store.Write(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	allow := func(list ...string) []recipes.Allow {
		var all []recipes.Allow
		for _, text := range list {
			a, err := builder.ParseAllow(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		return all
	}
	for range 2 { // the second time from the cache
		_, err = builder.CheckSecrets(t.Context(), p.store, d, nil)
		for _, part := range []string{"layer 1 of 2: /etc/a.txt, line 1: a token of GitHub", "layer 2 of 2: /etc/b.txt", "env:API: a token", "history: a token"} {
			if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), part) {
				t.Errorf("no %q in %v", part, err)
			}
		}
		if len(fault.All(err)) != 4 || strings.Contains(fmt.Sprintf("%+v", err), leaked()) {
			t.Errorf("%v", err)
		}
		if hint := fault.All(err)[0].Hint; !strings.Contains(hint, ":github-token=REASON'") {
			t.Errorf("hint: %s", hint)
		}
	}
	unused, err := builder.CheckSecrets(t.Context(), p.store, d, allow("/etc/*:github-token=a test = fine", "env:API=a test", "history=a test", "/srv/**=nothing is there"))
	if err != nil || len(unused) != 1 || unused[0].Path != "/srv/**" {
		t.Errorf("%+v %v", unused, err)
	}
	if _, err := builder.CheckSecrets(t.Context(), p.store, d, allow("/etc/*:private-key=another rule", "env:API=x", "history=x")); len(fault.All(err)) != 2 {
		t.Errorf("an allowance of another rule: %v", err)
	}
}

func TestParseAllow(t *testing.T) {
	for text, want := range map[string]recipes.Allow{
		"/a=b": {Path: "/a", Reason: "b"}, "/a:private-key= b=c": {Path: "/a", Rule: "private-key", Reason: "b=c"}, "env:API=x": {Path: "env:API", Reason: "x"},
		"env:API:private-key=x": {Path: "env:API", Rule: "private-key", Reason: "x"}, "/a:b=x": {Path: "/a:b", Reason: "x"},
	} {
		if got, err := builder.ParseAllow(text); err != nil || got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "/a", "/a=", "=b", "/a= ", ":private-key=x"} {
		if _, err := builder.ParseAllow(text); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestManySecretsAreBounded(t *testing.T) {
	p := newProject(t)
	for i := range 60 {
		p.write(fmt.Sprintf("conf/%02d", i), leaked(), 0o644)
	}
	_, err := p.try("base: scratch\ncopy: [{from: conf, to: /etc}]\n")
	if n := len(fault.All(err)); n != 41 || !strings.Contains(err.Error(), "and 20 more places") {
		t.Errorf("%d errors: %v", n, err)
	}
}

// TestSearchIsCached bakes a program of 6 MB anew and again: what the search adds is small, and nothing the second time.
func TestSearchIsCached(t *testing.T) {
	p := newProject(t)
	r := rand.New(rand.NewPCG(7, 8))
	program := make([]byte, 6<<20)
	for i := range program {
		program[i] = byte(r.Uint32())
	}
	p.write("app", string(program), 0o755)
	const recipe = "base: scratch\ncopy: [{from: app, to: /app}]\n"
	p.bake(recipe)
	started := time.Now()
	if res := p.bake(recipe); !res.Cached {
		t.Errorf("second bake: %+v", res)
	}
	t.Logf("a bake with nothing changed took %s", time.Since(started))
}
