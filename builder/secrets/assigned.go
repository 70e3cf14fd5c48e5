package secrets

import "bytes"

// keywords are what a name of a secret says. Capitals do not count.
func keywords() []string {
	return []string{"password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "api_key", "api-key", "accesskey", "access_key", "access-key",
		"privatekey", "private_key", "private-key", "credential", "auth_key", "authkey", "auth-key", "encryption_key", "encryptionkey",
		"signing_key", "signingkey", "signing-key", "master_key", "masterkey"}
}

// harmless parts of a name, behind the word of a secret, say that the value is something else: where it lies, what it is
// called, how it is checked.
var harmless = [...]string{"file", "path", "dir", "url", "uri", "name", "type", "hash", "sha", "md5", "sum", "digest", "hint", "id", "length", "len", "size", "count", "regex", "pattern",
	"label", "title", "text", "field", "input", "class", "policy", "format", "expir", "ttl", "age", "time", "date", "version", "alg", "prefix", "suffix", "header", "param", "endpoint", "method",
	"provider", "manager", "store", "service", "ref", "env", "var", "column", "table", "error", "msg", "message", "placeholder", "example", "public", "pub", "fingerprint", "kind", "scope", "form", "link", "icon", "test"}

// harmlessBefore are parts of a name before the word of a secret.
var harmlessBefore = [...]string{"public", "pub", "hash", "example", "test", "dummy", "fake", "mock", "sample", "cancel", "csrf", "xsrf", "sha", "md5", "encrypted", "sealed"}

// maxName bounds the name of a setting.
const maxName = 80

// assignment looks at a word in a name: NAME=value, name: value, "name": "value", name => 'value'.
func assignment(f *fileInfo, data []byte, at, after int) bool {
	in := is(isWord, one("-."))
	before := runBefore(data[max(0, at-maxName):at], in)
	behind := run(data[after:min(len(data), after+maxName)], in)
	if len(before)+len(behind) > maxName || hasPart(before, harmlessBefore[:]) || hasPart(behind, harmless[:]) {
		return false
	}
	rest, ok := assignedTo(data[after+len(behind):])
	if !ok {
		return false
	}
	value, quoted := valueOf(rest, f)
	if !quoted && !f.config && !f.name {
		return false // in a program only texts are values
	}
	return isSecretValue(value, f)
}

// hasPart reports whether a name has one of the parts.
func hasPart(name []byte, parts []string) bool {
	if len(name) == 0 {
		return false
	}
	lower := bytes.ToLower(name)
	for _, p := range parts {
		if bytes.Contains(lower, []byte(p)) {
			return true
		}
	}
	return false
}

// assignedTo skips what stands between a name and its value.
func assignedTo(data []byte) ([]byte, bool) {
	data = skipBlanks(data)
	if len(data) > 0 && (data[0] == '"' || data[0] == '\'' || data[0] == ']') { // the end of a quoted name, or of ["name"]
		data = data[1:]
		if len(data) > 0 && data[0] == ']' {
			data = data[1:]
		}
		data = skipBlanks(data)
	}
	for _, sign := range []string{"=>", ":=", "=", ":"} {
		if rest, ok := bytes.CutPrefix(data, []byte(sign)); ok {
			if bytes.HasPrefix(rest, []byte("=")) || bytes.HasPrefix(rest, []byte(":")) || bytes.HasPrefix(rest, []byte("//")) {
				return nil, false // a comparison, a namespace, an address
			}
			return skipBlanks(rest), true
		}
	}
	return nil, false
}

func skipBlanks(data []byte) []byte {
	for i, c := range data {
		if c != ' ' && c != '\t' {
			return data[i:]
		}
	}
	return nil
}

// valueOf is the text in quotes, or to the next blank.
func valueOf(data []byte, f *fileInfo) (value []byte, quoted bool) {
	if len(data) == 0 {
		return nil, false
	}
	if f.name { // all of it
		return bytes.TrimSpace(data), false
	}
	if q := data[0]; q == '"' || q == '\'' || q == '`' {
		line := data[1:min(len(data), maxRandom+2)]
		if i := bytes.IndexByte(line, q); i >= 0 {
			return line[:i], true
		}
		return nil, true
	}
	value = run(data[:min(len(data), maxRandom+1)], func(c byte) bool { return c > ' ' && c < 0x7f })
	return bytes.TrimRight(value, ",;"), false
}

// isSecretValue reports whether a value is random and not one of the forms that are known to be no secret.
func isSecretValue(value []byte, f *fileInfo) bool {
	for _, c := range value {
		if isAlnum(c) || bytes.IndexByte([]byte("+/=_-.~"), c) >= 0 {
			continue
		}
		if !f.config && !f.name || bytes.IndexByte([]byte("!@#$%^&*?:,;|"), c) < 0 {
			return false
		}
	}
	switch {
	case bytes.HasPrefix(value, []byte("$")) || bytes.HasPrefix(value, []byte("%")) || bytes.Contains(value, []byte("$$")):
		return false // a variable, or the hash of a password
	case bytes.Contains(value, []byte("://")) || bytes.HasPrefix(value, []byte("/")) && bytes.Count(value, []byte("/")) > 1 && words(value):
		return false
	case bytes.HasPrefix(value, []byte("sha256-")) || bytes.HasPrefix(value, []byte("sha512-")) || bytes.HasPrefix(value, []byte("sha256:")) || bytes.HasPrefix(value, []byte("ssh-")):
		return false
	}
	return random(value) && !published(value)
}
