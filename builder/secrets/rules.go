package secrets

import (
	"bytes"
	"strings"
)

// rule finds one kind of secret in the content of any file.
type rule struct {
	id, description string
	anchors         []string // found without regard to capitals
	textOnly        bool
	// check looks closer at an anchor: data[at:after] is it. data holds lookBehind bytes before it and lookAhead after
	// it, or all to the beginning and end of the file.
	check func(f *fileInfo, data []byte, at, after int) bool
}

// fileInfo is what rules may know of the file.
type fileInfo struct {
	path   string
	config bool // a file of settings by its name, not of program text
	binary bool // its texts may run into each other, as programs keep them
	name   bool // of a setting: the whole text is NAME=value
}

// token is a kind of secret that begins with something of its own.
type token struct {
	id, description string
	prefixes        []string
	body            func(byte) bool
	min, max        int // length of the body; max 0 is open
	textOnly        bool
	also            func(body []byte) bool // what else must hold
}

func is(classes ...func(byte) bool) func(byte) bool {
	return func(c byte) bool {
		for _, in := range classes {
			if in(c) {
				return true
			}
		}
		return false
	}
}

func one(chars string) func(byte) bool {
	return func(c byte) bool { return strings.IndexByte(chars, c) >= 0 }
}

func upperHexless(c byte) bool { return c >= 'A' && c <= 'Z' || c >= '2' && c <= '7' }
func upperAlnum(c byte) bool   { return c >= 'A' && c <= 'Z' || isDigit(c) }
func lowerHex(c byte) bool     { return isDigit(c) || c >= 'a' && c <= 'f' }

// tokens are the forms that services document for their own scanners of leaked secrets.
func tokens() []token {
	return []token{
		{id: "aws-access-key", description: "an access key id of AWS", prefixes: []string{"AKIA", "ASIA", "ABIA", "ACCA"}, body: upperHexless, min: 16, max: 16},
		{id: "google-api-key", description: "an API key of Google", prefixes: []string{"AIza"}, body: isURL64, min: 35, max: 35},
		{id: "google-oauth-secret", description: "a client secret of Google OAuth", prefixes: []string{"GOCSPX-"}, body: isURL64, min: 28, max: 28},
		{id: "azure-storage-key", description: "an account key of Azure", prefixes: []string{"AccountKey=", "SharedAccessKey="}, body: is(isBase64, one("=")), min: 44, max: 88},
		{id: "github-token", description: "a token of GitHub", prefixes: []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_"}, body: isAlnum, min: 36, max: 255},
		{id: "github-token", description: "a token of GitHub", prefixes: []string{"github_pat_"}, body: isWord, min: 60, max: 255},
		{id: "gitlab-token", description: "a token of GitLab", prefixes: []string{"glpat-", "gldt-", "glrt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-", "glsoat-"},
			body: is(isURL64, one(".")), min: 20, max: 255},
		{id: "gitlab-token", description: "a token of GitLab", prefixes: []string{"glcbt-"}, body: isURL64, min: 20, max: 255},
		{id: "slack-token", description: "a token of Slack", prefixes: []string{"xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-"}, body: is(isAlnum, one("-.")), min: 24, max: 255, also: startsWithDigit},
		{id: "slack-webhook", description: "an address of a Slack webhook", prefixes: []string{"hooks.slack.com/services/T"}, body: is(isAlnum, one("/")), min: 40, max: 100},
		{id: "discord-webhook", description: "an address of a Discord webhook", prefixes: []string{"discord.com/api/webhooks/", "discordapp.com/api/webhooks/"}, body: is(isURL64, one("/")), min: 70, max: 120},
		{id: "stripe-key", description: "a secret key of Stripe", prefixes: []string{"sk_live_", "rk_live_", "sk_test_", "rk_test_"}, body: isAlnum, min: 16, max: 255},
		{id: "stripe-key", description: "a secret key of Stripe", prefixes: []string{"whsec_"}, body: isBase64, min: 32, max: 64},
		{id: "npm-token", description: "a token of npm", prefixes: []string{"npm_"}, body: isAlnum, min: 36, max: 36},
		{id: "pypi-token", description: "a token of PyPI", prefixes: []string{"pypi-AgEIcHlwaS5vcmc", "pypi-AgENdGVzdC5weXBpLm9yZw"}, body: isURL64, min: 50},
		{id: "rubygems-token", description: "a token of RubyGems", prefixes: []string{"rubygems_"}, body: lowerHex, min: 48, max: 48},
		{id: "docker-token", description: "a token of Docker Hub", prefixes: []string{"dckr_pat_", "dckr_oat_"}, body: isURL64, min: 27, max: 40},
		{id: "digitalocean-token", description: "a token of DigitalOcean", prefixes: []string{"dop_v1_", "doo_v1_", "dor_v1_"}, body: lowerHex, min: 64, max: 64},
		{id: "sendgrid-key", description: "a key of SendGrid", prefixes: []string{"SG."}, body: is(isURL64, one(".")), min: 66, max: 66},
		{id: "mailgun-key", description: "a key of Mailgun", prefixes: []string{"key-"}, body: lowerHex, min: 32, max: 32, textOnly: true},
		{id: "openai-key", description: "a key of OpenAI", prefixes: []string{"sk-proj-", "sk-svcacct-", "sk-admin-"}, body: isURL64, min: 40, max: 255},
		{id: "anthropic-key", description: "a key of Anthropic", prefixes: []string{"sk-ant-api", "sk-ant-admin"}, body: isURL64, min: 80, max: 255},
		{id: "huggingface-token", description: "a token of Hugging Face", prefixes: []string{"hf_"}, body: isLetter, min: 34, max: 34, also: mixedCase},
		{id: "shopify-token", description: "a token of Shopify", prefixes: []string{"shpat_", "shpss_", "shpca_", "shppa_"}, body: isHex, min: 32, max: 32},
		{id: "vault-token", description: "a token of HashiCorp Vault", prefixes: []string{"hvs.", "hvb.", "hvr."}, body: isURL64, min: 24, max: 255, also: mixedCase},
		{id: "databricks-token", description: "a token of Databricks", prefixes: []string{"dapi"}, body: lowerHex, min: 32, max: 32},
		{id: "linear-key", description: "a key of Linear", prefixes: []string{"lin_api_"}, body: isAlnum, min: 40, max: 40},
		{id: "postman-key", description: "a key of Postman", prefixes: []string{"PMAK-"}, body: is(lowerHex, one("-")), min: 59, max: 59},
		{id: "pulumi-token", description: "a token of Pulumi", prefixes: []string{"pul-"}, body: lowerHex, min: 40, max: 40},
		{id: "newrelic-key", description: "a key of New Relic", prefixes: []string{"NRAK-"}, body: upperAlnum, min: 27, max: 27},
		{id: "grafana-token", description: "a token of Grafana", prefixes: []string{"glsa_"}, body: isWord, min: 41, max: 41},
		{id: "grafana-token", description: "a token of Grafana", prefixes: []string{"glc_eyJ"}, body: is(isBase64, one("=")), min: 30, max: 400},
		{id: "atlassian-token", description: "a token of Atlassian", prefixes: []string{"ATATT3xFfGF0"}, body: is(isURL64, one("=")), min: 100, max: 255},
		{id: "sentry-token", description: "a token of Sentry", prefixes: []string{"sntrys_", "sntryu_"}, body: is(isBase64, one("_=")), min: 40, max: 400},
		{id: "doppler-token", description: "a token of Doppler", prefixes: []string{"dp.pt.", "dp.st.", "dp.ct."}, body: is(isAlnum, one("._-")), min: 40, max: 100},
		{id: "heroku-key", description: "a key of Heroku", prefixes: []string{"HRKU-AA"}, body: isURL64, min: 58, max: 58},
		{id: "planetscale-token", description: "a token of PlanetScale", prefixes: []string{"pscale_tkn_", "pscale_pw_", "pscale_oauth_"}, body: is(isURL64, one("=.")), min: 32, max: 64},
		{id: "square-token", description: "a token of Square", prefixes: []string{"sq0atp-", "sq0csp-"}, body: isURL64, min: 22, max: 60},
		{id: "age-key", description: "a key of age", prefixes: []string{"AGE-SECRET-KEY-1", "AGE-PLUGIN-YUBIKEY-1"}, body: upperAlnum, min: 58, max: 58},
		{id: "terraform-token", description: "a token of Terraform Cloud", prefixes: []string{".atlasv1."}, body: isURL64, min: 60, max: 80, also: nil},
	}
}

func startsWithDigit(body []byte) bool { return isDigit(body[0]) }

func mixedCase(body []byte) bool {
	var upper, lower bool
	for _, c := range body {
		upper = upper || c >= 'A' && c <= 'Z'
		lower = lower || c >= 'a' && c <= 'z'
	}
	return upper && lower
}

// rule makes a rule of a token; all are the prefixes of all kinds.
func (t token) rule(all []string) rule {
	return rule{id: t.id, description: t.description, anchors: t.prefixes, textOnly: t.textOnly,
		check: func(f *fileInfo, data []byte, at, after int) bool {
			if !isOneOf(data[at:after], t.prefixes) || at > 0 && isWord(data[at-1]) && isWord(data[at]) {
				return false
			}
			body := run(data[after:], t.body)
			if len(body) < t.min || t.max > 0 && len(body) > t.max || placeholder(body) {
				return false
			}
			if end := after + len(body); end < len(data) && isWord(data[end]) {
				return false
			}
			if f.binary && t.words() && (holdsOne(body, all) || !random(body[:min(len(body), maxRandom)])) {
				return false
			}
			return t.also == nil || t.also(body)
		}}
}

// words reports whether the body may be words joined by signs: then what follows the prefix in a program is as often as not
// the next of its texts.
func (t token) words() bool { return t.body('-') || t.body('_') || t.body('.') }

// holdsOne reports whether one of the prefixes is in the body: then it is a list of them, as programs that look for tokens have.
func holdsOne(body []byte, prefixes []string) bool {
	for _, p := range prefixes {
		if bytes.Contains(body, []byte(p)) {
			return true
		}
	}
	return false
}

func isOneOf(text []byte, list []string) bool {
	for _, s := range list {
		if string(text) == s {
			return true
		}
	}
	return false
}

// run is the longest beginning of data whose bytes are all of a class.
func run(data []byte, in func(byte) bool) []byte {
	for i, c := range data {
		if !in(c) {
			return data[:i]
		}
	}
	return data
}

// runBefore is the longest end of data whose bytes are all of a class.
func runBefore(data []byte, in func(byte) bool) []byte {
	for i := len(data) - 1; i >= 0; i-- {
		if !in(data[i]) {
			return data[i+1:]
		}
	}
	return data
}

// fillers are in values that only show what goes there.
var fillers = [...]string{"example", "xxxx", "placeholder", "redacted", "changeme", "change_me", "change-me", "dummy", "1234567", "abcdef", "your_", "your-", "insert", "00000000", "........", "replace"}

// placeholder reports whether a value only shows what goes there.
func placeholder(value []byte) bool {
	lower := bytes.ToLower(value)
	for _, f := range fillers {
		if bytes.Contains(lower, []byte(f)) {
			return true
		}
	}
	return distinct(value) < min(8, (len(value)+1)/2)
}

func distinct(value []byte) int {
	var seen [256]bool
	n := 0
	for _, c := range value {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}

// allRules are the rules for content.
func allRules() []rule {
	list := []rule{
		{id: "private-key", description: "a private key", anchors: []string{"-----begin ", "---- begin ssh2"}, check: pemKey},
		{id: "private-key", description: "a private key", anchors: []string{"LS0tLS1CRUdJTi"}, check: encodedKey},
		{id: "private-key", description: "a private key", anchors: []string{"\"kty\""}, textOnly: true, check: webKey},
		{id: "putty-key", description: "a private key of PuTTY", anchors: []string{"PuTTY-User-Key-File-"}, check: puttyKey},
		{id: "minisign-key", description: "a secret key of minisign or signify", anchors: []string{"untrusted comment:"}, textOnly: true, check: signifyKey},
		{id: "gcp-service-account", description: "the key of a service account of Google Cloud", anchors: []string{"\"private_key_id\""}, textOnly: true, check: serviceAccount},
		{id: "azure-client-secret", description: "a client secret of Azure", anchors: []string{"Q~"}, textOnly: true, check: azureSecret},
		{id: "openai-key", description: "a key of OpenAI", anchors: []string{"T3BlbkFJ"}, check: openaiKey},
		{id: "telegram-token", description: "a token of a Telegram bot", anchors: []string{":AA"}, textOnly: true, check: telegramToken},
		{id: "jwt", description: "a JSON web token", anchors: []string{"eyJ"}, check: webToken},
		{id: "url-password", description: "an address with a password", anchors: []string{"://"}, textOnly: true, check: urlPassword},
		{id: assigned, description: "a random value under a name of a secret", anchors: keywords(), textOnly: true, check: assignment},
	}
	all := tokens()
	var prefixes []string
	for _, t := range all {
		prefixes = append(prefixes, t.prefixes...)
	}
	for _, t := range all {
		list = append(list, t.rule(prefixes))
	}
	return list
}

// assigned is the rule that knows least: it gives way to any other on the same line.
const assigned = "assigned-secret"
