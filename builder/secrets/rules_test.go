package secrets_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bootandshoot/release/builder/secrets"
)

// Samples are put together here, from pieces and from chance with a fixed seed, so that no one's search for leaked
// secrets takes this file for one.

const (
	small   = "abcdefghijklmnopqrstuvwxyz"
	digits  = "0123456789"
	capital = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	alnum   = capital + small + digits
	hexes   = "0123456789abcdef"
	url64   = alnum + "-_"
)

// draw gives n characters by chance; the same for the same arguments.
func draw(n int, from string) string {
	r := mathrand.New(mathrand.NewPCG(uint64(n), uint64(len(from))))
	b := make([]byte, n)
	for i := range b {
		b[i] = from[r.IntN(len(from))]
	}
	return string(b)
}

func pemOf(t *testing.T, label string, der []byte) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

// keys makes a key of each kind.
func keys(t *testing.T) map[string]string {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ed)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&r.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte(draw(600, alnum))})
	return map[string]string{
		"pkcs8": pemOf(t, "PRIVATE KEY", pkcs8), "sec1": pemOf(t, "EC PRIVATE KEY", sec1), "pkcs1": pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)),
		"encrypted": string(encrypted), "openssh": pemOf(t, "OPENSSH PRIVATE KEY", append([]byte("openssh-key-v1\x00"), draw(300, alnum)...)),
		"pgp":    strings.Replace(pemOf(t, "PGP PRIVATE KEY BLOCK", []byte(draw(400, alnum))), "-----\n", "-----\nVersion: GnuPG v2\n\n", 1),
		"ssh2":   "---- BEGIN SSH2 ENCRYPTED " + "PRIVATE KEY ----\nComment: \"x\"\n" + base64.StdEncoding.EncodeToString([]byte(draw(200, alnum))) + "\n---- END SSH2 ----\n",
		"public": pemOf(t, "PUBLIC KEY", public),
	}
}

// sample is a file's content and whether the rule finds something in it.
type sample struct {
	path, content string
	found         bool
}

func in(content string) sample    { return sample{"opt/file", content, true} }
func notIn(content string) sample { return sample{"opt/file", content, false} }

func samples(t *testing.T) map[string][]sample {
	k := keys(t)
	indented := "  key: |\n    " + strings.ReplaceAll(k["pkcs1"], "\n", "\n    ")
	jwtHead := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))
	jwtBody := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"42","name":"a"}`))
	all := map[string][]sample{
		"private-key": {in(k["pkcs8"]), in(k["sec1"]), in(k["pkcs1"]), in(k["encrypted"]), in(k["openssh"]), in(k["pgp"]), in(k["ssh2"]), in(indented),
			in(strings.ReplaceAll(k["pkcs1"], "\n", "\r\n")), in(fmt.Sprintf("{\"private_key\": %q}", k["pkcs8"])), in("\x00\x01binary" + k["sec1"]),
			in("client-key: " + base64.StdEncoding.EncodeToString([]byte(k["pkcs1"]))),
			in(`{"kty":"EC","crv":"P-256","d":"` + draw(43, url64) + `","x":"a"}`), in(`{"kty":"oct","k":"` + draw(43, url64) + `"}`),
			notIn(k["public"]), notIn("-----BEGIN PRIVATE " + "KEY-----"), notIn("grep -- '-----BEGIN RSA PRIVATE " + "KEY-----' file"),
			notIn("-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEowIBAAKCAQEA...\n-----END"), notIn(k["pkcs1"][:500] + "\n...\n"),
			notIn(`{"kty":"EC","crv":"P-256","x":"` + draw(43, url64) + `"}`), notIn("c: " + base64.StdEncoding.EncodeToString([]byte(k["public"])))},
		"putty-key": {in("PuTTY-User-Key-" + "File-3: ssh-ed25519\nEncryption: none\nComment: x\nPublic-Lines: 1\nAAAA\nPrivate-Lines: 1\n" + draw(48, alnum) + "\n"),
			notIn("PuTTY-User-Key-" + "File-3: ssh-ed25519\nPublic-Lines: 1\nAAAA\n"), notIn("the line PuTTY-User-Key-" + "File-2 begins")},
		"age-key":      {in("AGE-SECRET-" + "KEY-1" + draw(58, capital+digits)), notIn("AGE-SECRET-" + "KEY-1..."), notIn("age-secret-" + "key-1" + draw(58, small))},
		"minisign-key": {in("untrusted comment: minisign encrypted secret key\nRW" + draw(90, alnum) + "\n"), notIn("untrusted comment: minisign public key\nRW" + draw(54, alnum) + "\n")},
		"aws-access-key": {in("id = " + "AKIA" + draw(16, capital+"234567")), notIn("AKIA" + "IOSFODNN7EXAMPLE"), notIn("AKIA" + draw(20, capital)), notIn("XAKIA" + draw(16, capital)),
			notIn("AKIA" + strings.Repeat("A", 16)), notIn("akia" + draw(16, small))},
		"gcp-service-account": {in(`{"type": "service_account", "private_key_id": "` + draw(40, hexes) + `"}`), notIn(`{"private_key_id": ""}`), notIn(`"private_key_id": string`)},
		"jwt": {in("Bearer " + jwtHead + "." + jwtBody + "." + draw(43, url64)), notIn(jwtHead + "." + jwtBody), notIn("eyJ" + draw(30, url64) + ".eyJ" + draw(30, url64) + "." + draw(43, url64)),
			notIn(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + jwtBody + "." + draw(43, url64))},
		"url-password": {in("postgres://shop:" + draw(20, alnum) + "@db.internal/shop"), notIn("postgres://user:password@db/shop"), notIn("https://example.org:8080/a@b"),
			notIn("http://user:${" + "PASSWORD_1a2B3c}@host"), notIn("git://" + draw(20, alnum) + "@host/x")},
		"assigned-secret": {{"etc/app.ini", "db_password = " + draw(20, alnum), true}, {"srv/app.py", "SECRET_KEY = '" + draw(40, alnum) + "'", true}, {"a.json", `{"clientSecret": "` + draw(32, alnum) + `"}`, true},
			{"a.yaml", "api_key: " + draw(32, hexes), true}, {"a.php", "$config['auth_token'] = \"" + draw(32, alnum) + "\";", true}, {"a.rb", "secret_key_base => '" + draw(64, hexes) + "'", true},
			{"etc/default/app", "APP_TOKEN=" + draw(24, alnum) + "\n", true}, {"a.toml", "password = \"k9!Lm2#pQ7-xZ4\"", true},
			{"a.py", "token = self.get_token1(request2)", false}, {"a.py", "password = '" + "changeme12345678'", false}, {"a.py", "token_url = '" + draw(24, alnum) + "'", false}, {"a.py", "password_hash = '" + draw(64, hexes) + "'", false},
			{"a.py", "public_token = '" + draw(24, alnum) + "'", false}, {"a.c", "if (token == " + draw(24, alnum) + ")", false}, {"a.c", "std::token::" + draw(24, alnum), false}, {"etc/a.conf", "password: $6$" + draw(60, alnum), false},
			{"a.po", "msgid \"Password: see the manual of version 2\"", false}, {"a.yaml", "secretName: my-app-secret-v2-prod1", false}, {"a.js", "token:" + draw(24, alnum) + ",", false}, {"a.sh", "PASSWORD=$(cat /run/secrets/db_password1)", false}},
		"env-file":            {{"srv/.env", "# x\nPORT=8080\n", true}, {"srv/.env.production", "export A=b\n", true}, {"srv/.env.example", "A=b\n", false}, {"srv/.env", "# nothing\nA=\n", false}, {"srv/my.env.go", "A=b", false}},
		"git-credentials":     {{"root/.git-credentials", "https://me:" + "pw@host\n", true}, {"root/.git-credentials", "\n", false}, {"root/git-credentials", "https://me:" + "pw@host\n", false}},
		"netrc":               {{"root/.netrc", "machine h\n  login me password x\n", true}, {"root/.netrc", "machine h login me\n", false}, {"root/netrc.txt", "password x", false}},
		"npmrc":               {{"root/.npmrc", "//registry/:_auth" + "Token=abc\n", true}, {"root/.npmrc", "//registry/:_authToken=${NPM_TOKEN}\nregistry=https://r/\n", false}},
		"pypirc":              {{"root/.pypirc", "[pypi]\nusername = me\npassword = x\n", true}, {"root/.pypirc", "[pypi]\nusername = me\n", false}},
		"docker-config":       {{"root/.docker/config.json", `{"auths":{"h":{"auth":"` + "bWU6cHc=" + `"}}}`, true}, {"root/.docker/config.json", `{"auths":{"h":{}},"credsStore":"x"}`, false}},
		"aws-credentials":     {{"root/.aws/credentials", "[default]\naws_secret_access_key = x\n", true}, {"root/.aws/config", "[default]\nregion = eu\n", false}},
		"gcloud-credentials":  {{"root/.config/gcloud/application_default_credentials.json", `{"refresh_token": "x"}`, true}, {"root/.config/gcloud/application_default_credentials.json", `{}`, false}},
		"kubeconfig":          {{"root/.kube/config", "users:\n- user:\n    token: abc\n", true}, {"root/.kube/config", "clusters: []\n", false}},
		"pgpass":              {{"root/.pgpass", "h:5432:db:me:pw\n", true}, {"root/.pgpass", "# h:5432:db:me:pw\n", false}},
		"my-cnf":              {{"root/.my.cnf", "[client]\npassword=x\n", true}, {"root/.my.cnf", "[client]\nuser=x\n", false}},
		"package-login":       {{"root/.cargo/credentials.toml", "[registry]\ntoken = \"x\"\n", true}, {"root/.m2/settings.xml", "<server><password>x</password>", true}, {"root/.m2/settings.xml", "<server><password>${env.P}</password>", false}},
		"tool-login":          {{"root/.config/gh/hosts.yml", "github.com:\n    oauth_token: x\n", true}, {"root/.config/gh/hosts.yml", "github.com:\n    user: x\n", false}},
		"key-store":           {{"etc/tls/server.p12", "\x30\x82\x01\x02" + draw(300, alnum), true}, {"etc/tls/server.p12", "text", false}},
		"azure-client-secret": {in("s: " + draw(3, alnum) + "8" + "Q~" + draw(34, alnum)), notIn("Q~" + draw(34, alnum)), notIn("abcdQ~" + draw(34, alnum))},
		"azure-storage-key":   {in("AccountName=x;Account" + "Key=" + draw(86, alnum) + "=="), notIn("Account" + "Key=short"), notIn("AccountKey={key}")},
		"openai-key":          {in("sk-" + draw(20, alnum) + "T3Blbk" + "FJ" + draw(20, alnum)), in("sk-" + "proj-" + draw(60, url64)), notIn("T3Blbk" + "FJ"), notIn("sk-" + "proj-x")},
		"telegram-token":      {in("12345678" + "9:AA" + draw(33, alnum)), notIn("1:AA" + draw(33, alnum)), notIn("0x123456789:AA" + draw(10, alnum))},
	}
	for id, list := range simpleTokens() {
		all[id] = append(all[id], list...)
	}
	return all
}

// simpleTokens are of services whose tokens are a prefix and a body.
func simpleTokens() map[string][]sample {
	all := map[string][]sample{}
	for _, s := range []struct {
		id, prefix, from string
		n                int
	}{
		{"google-api-key", "AI" + "za", url64, 35}, {"google-oauth-secret", "GOC" + "SPX-", url64, 28}, {"github-token", "gh" + "p_", alnum, 36}, {"github-token", "github" + "_pat_", alnum, 82},
		{"gitlab-token", "gl" + "pat-", url64, 20}, {"gitlab-token", "gl" + "cbt-", url64, 25}, {"slack-token", "xo" + "xb-123456-", alnum, 30}, {"slack-webhook", "hooks.slack" + ".com/services/T", alnum, 44},
		{"discord-webhook", "discord" + ".com/api/webhooks/1122/", url64, 70}, {"stripe-key", "sk" + "_live_", alnum, 24}, {"stripe-key", "whs" + "ec_", alnum, 32}, {"npm-token", "np" + "m_", alnum, 36},
		{"pypi-token", "pypi-" + "AgEIcHlwaS5vcmc", url64, 80}, {"rubygems-token", "rubygems" + "_", hexes, 48}, {"docker-token", "dckr" + "_pat_", url64, 27}, {"digitalocean-token", "dop" + "_v1_", hexes, 64},
		{"sendgrid-key", "S" + "G.", url64, 66}, {"mailgun-key", "ke" + "y-", hexes, 32}, {"anthropic-key", "sk-" + "ant-api03-", url64, 90}, {"huggingface-token", "h" + "f_", capital + small, 34},
		{"shopify-token", "shp" + "at_", hexes, 32}, {"vault-token", "hv" + "s.", url64, 30}, {"databricks-token", "da" + "pi", hexes, 32}, {"linear-key", "lin" + "_api_", alnum, 40},
		{"postman-key", "PM" + "AK-", hexes, 59}, {"pulumi-token", "pu" + "l-", hexes, 40}, {"newrelic-key", "NR" + "AK-", capital + digits, 27}, {"grafana-token", "gl" + "sa_", alnum, 41},
		{"grafana-token", "gl" + "c_eyJ", alnum, 60}, {"atlassian-token", "ATATT" + "3xFfGF0", url64, 120}, {"sentry-token", "sntr" + "ys_", alnum, 60}, {"doppler-token", "dp." + "pt.", alnum, 43},
		{"heroku-key", "HRKU" + "-AA", url64, 58}, {"planetscale-token", "pscale" + "_tkn_", url64, 43}, {"square-token", "sq0" + "atp-", url64, 22}, {"terraform-token", draw(14, alnum) + ".atlas" + "v1.", url64, 67},
	} {
		body := draw(s.n, s.from)
		if s.from == url64 { // a body must not end in a sign: some are followed by one in a sentence
			body = body[:s.n-1] + "a"
		}
		all[s.id] = append(all[s.id], in("x="+s.prefix+body+"\n"), in("\x00\x01"+s.prefix+body+"\x00"), notIn(s.prefix+"…"), notIn(s.prefix+body[:5]+"\n"), notIn(s.prefix+strings.Repeat("x", s.n)))
		if s.id == "mailgun-key" {
			all[s.id] = slices.DeleteFunc(all[s.id], func(x sample) bool { return strings.HasPrefix(x.content, "\x00") })
		}
	}
	return all
}

func find(t *testing.T, s *secrets.Scanner, x sample) []secrets.Finding {
	t.Helper()
	list, err := s.File(x.path, strings.NewReader(x.content))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestRules(t *testing.T) {
	s := secrets.New()
	all := samples(t)
	for _, r := range secrets.Rules() {
		if r.ID == "git-folder" {
			continue // TestLayer
		}
		yes, no := 0, 0
		for _, x := range all[r.ID] {
			has := slices.ContainsFunc(find(t, s, x), func(f secrets.Finding) bool { return f.Rule == r.ID && f.Path == "/"+x.path })
			if has != x.found {
				t.Errorf("%s: found %v, want %v, in %s: %q", r.ID, has, x.found, x.path, x.content)
			}
			if x.found {
				yes++
			} else {
				no++
			}
		}
		if yes == 0 || no == 0 {
			t.Errorf("%s has %d samples with and %d without", r.ID, yes, no)
		}
		if r.Description == "" {
			t.Errorf("%s has no description", r.ID)
		}
	}
}

// TestSeams puts secrets around the places where the window moves on, and checks their lines.
func TestSeams(t *testing.T) {
	s := secrets.New()
	key := keys(t)["pkcs1"]
	token := "gh" + "p_" + draw(36, alnum)
	const piece = 512<<10 - 16<<10
	for _, at := range []int{0, 100, piece - len(key), piece - 100, piece - 10, piece - 1, piece, piece + 1, 512<<10 - 20, 512 << 10, 2*piece - 5, 3 << 20} {
		for rule, secret := range map[string]string{"private-key": key, "github-token": token} {
			before := strings.Repeat("0123456789abcd\n", at/15+1)[:at]
			content := before + "\n" + secret + "\nafter\n"
			list := find(t, s, in(content))
			want := strings.Count(before, "\n") + 2
			if len(list) != 1 || list[0].Rule != rule || list[0].Line != want || list[0].Count != 1 {
				t.Errorf("%s at %d: %+v, want line %d", rule, at, list, want)
			}
		}
	}
}

func TestSetting(t *testing.T) {
	s := secrets.New()
	for _, c := range []struct{ name, value, rule string }{
		{"DB_PASSWORD", draw(20, alnum), "assigned-secret"}, {"API", "gh" + "p_" + draw(36, alnum), "github-token"}, {"DATABASE_URL", "mysql://a:" + draw(16, alnum) + "@h/d", "url-password"},
		{"PASSWORD_FILE", "/run/secrets/db", ""}, {"TOKEN", "none", ""}, {"PATH", "/usr/bin", ""}, {"SECRET", "two words of text 1", ""},
	} {
		list := s.Setting("env:"+c.name, c.name, c.value)
		switch {
		case c.rule == "" && len(list) > 0, c.rule != "" && (len(list) != 1 || list[0].Rule != c.rule || list[0].Path != "env:"+c.name || list[0].Line != 0):
			t.Errorf("%s=%s: %+v, want %q", c.name, c.value, list, c.rule)
		}
	}
}

func TestLayer(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	token := "x = " + "gh" + "p_" + draw(36, alnum)
	for _, f := range []struct{ name, content string }{
		{"etc/fine", "fine"}, {"etc/token", "\n\n" + token + "\n" + token}, {"srv/.git/HEAD", "ref: x"}, {"srv/.git/config", token}, {"srv/sub/.git", "gitdir: x"}, {"srv/x", ""},
	} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := secrets.New().Layer(context.Background(), bytes.NewReader(b.Bytes()))
	want := []secrets.Finding{{Rule: "github-token", Path: "/etc/token", Line: 3, Count: 2}, {Rule: "git-folder", Path: "/srv/.git", Count: 1}, {Rule: "github-token", Path: "/srv/.git/config", Line: 1, Count: 1}}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("%+v %v, want %+v", list, err, want)
	}
	if _, err := secrets.New().Layer(context.Background(), bytes.NewReader(b.Bytes()[:1300])); err == nil {
		t.Error("a layer that ends early is fine")
	}
}

func FuzzFile(f *testing.F) {
	s := secrets.New()
	for _, text := range []string{"", "password=", "token: \"", "-----BEGIN PRIVATE KEY-----\nMII", "{\"kty\":", "://a:b@", "LS0tLS1CRUdJTi", "eyJ.eyJ.", ":AA", "Q~", "PuTTY-User-Key-File-3"} {
		f.Add("srv/.env", []byte(text))
	}
	f.Fuzz(func(t *testing.T, path string, data []byte) {
		list, err := s.File(path, bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range list {
			if _, ok := secrets.Describe(x.Rule); !ok || x.Line > bytes.Count(data, []byte("\n"))+1 {
				t.Errorf("%+v", x)
			}
		}
	})
}

// What is found does not depend on where in a file it stands, and not on what stands far before it.
func TestKeyAfterItsNumbers(t *testing.T) {
	s := secrets.New()
	key := `{"d":"` + draw(683, url64) + `","n":"` + draw(683, url64) + `","p":"` + draw(342, url64) + `","q":"` + draw(342, url64) + `","kty":"RSA"}`
	for _, before := range []int{0, 100, 495<<10 - 1000, 495<<10 + 500, 512<<10 - 1000, 512 << 10} {
		if found := find(t, s, sample{"opt/file", strings.Repeat("- \n", before/3) + key, true}); len(found) != 1 || found[0].Rule != "private-key" {
			t.Errorf("after %d bytes: %+v", before, found)
		}
	}
}
