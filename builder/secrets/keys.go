package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

// pemKey looks at "-----BEGIN ". A private key has a label that says so and a body that decodes; a program's text that
// only looks for keys, or a manual's that shows a few lines of one, has not.
func pemKey(_ *fileInfo, data []byte, at, after int) bool {
	if bytes.HasPrefix(data[at:], []byte("---- BEGIN SSH2")) {
		label, body, ok := bytes.Cut(data[at+5:min(len(data), at+80)], []byte(" ----"))
		return ok && bytes.Contains(label, []byte("PRIVATE KEY")) && len(body) > 0 && decodes(data[at+5+len(label)+5:], string(label))
	}
	if !bytes.HasPrefix(data[at:], []byte("-----BEGIN ")) {
		return false
	}
	label := run(data[after:min(len(data), after+64)], is(upperAlnum, one(" ")))
	rest := data[after+len(label):]
	if !bytes.Contains(label, []byte("PRIVATE KEY")) || !bytes.HasPrefix(rest, []byte("-----")) {
		return false
	}
	return decodes(rest[5:], string(label))
}

// Bodies of keys: the shortest, an ed25519 key, has 48 bytes.
const (
	minKeyChars  = 60
	opensshMagic = "b3BlbnNzaC1rZXktdjE" // "openssh-key-v1"
)

// decodes reports whether what follows the first line of a PEM block is a key.
func decodes(rest []byte, label string) bool {
	body, encrypted, cut := pemBody(rest)
	if len(body) < minKeyChars || placeholder(body[:minKeyChars]) {
		return false
	}
	switch {
	case bytes.Contains([]byte(label), []byte("OPENSSH")):
		return bytes.HasPrefix(body, []byte(opensshMagic))
	case encrypted, bytes.Contains([]byte(label), []byte("PGP")), bytes.Contains([]byte(label), []byte("SSH2")):
		return distinct(body) >= 20
	}
	der := make([]byte, base64.RawStdEncoding.DecodedLen(len(body)))
	n, _ := base64.RawStdEncoding.Decode(der, body[:len(body)/4*4])
	if tail := body[len(body)/4*4:]; len(tail) > 1 {
		m, _ := base64.RawStdEncoding.Decode(der[n:], tail)
		n += m
	}
	length, ok := derLength(der[:n])
	if !ok || length > n && !cut {
		return false // what a manual shows of a key
	}
	return length > n || !published(der[:length])
}

// pemBody collects the base64 after the first line, over line ends real and written "\n", quotes and indentation. cut says
// that data ended before the block did.
func pemBody(data []byte) (body []byte, encrypted, cut bool) {
	lineStart := true
	for i := 0; i < len(data); {
		if lineStart {
			if n, enc := pemHeader(data[i:]); n > 0 {
				encrypted = encrypted || enc
				i += n
				continue
			}
		}
		c := data[i]
		lineStart = false
		switch {
		case isBase64(c):
			body = append(body, c)
		case c == '\n':
			lineStart = true
		case c == '\\' && i+1 < len(data) && (data[i+1] == 'n' || data[i+1] == 'r' || data[i+1] == 't' || data[i+1] == '\n'):
			lineStart = data[i+1] == 'n'
			i++
		case isSpace(c) || c == '"' || c == '\'' || c == ',' || c == '\\':
		default:
			return body, encrypted, false
		}
		i++
	}
	return body, encrypted, true
}

// pemHeader is the length of a header line ("Proc-Type: 4,ENCRYPTED"), 0 if there is none.
func pemHeader(line []byte) (n int, encrypted bool) {
	name := run(line[:min(len(line), 24)], is(isLetter, one("-")))
	if len(name) == 0 || len(name) >= len(line) || line[len(name)] != ':' {
		return 0, false
	}
	end := bytes.IndexByte(line, '\n')
	if written := bytes.Index(line, []byte(`\n`)); written >= 0 && (end < 0 || written < end) {
		end = written + 1
	}
	if end < 0 {
		return len(line), false
	}
	return end + 1, bytes.Contains(line[:end], []byte("ENCRYPTED"))
}

// derLength is the length of a whole DER sequence from its first bytes (X.690, 8.1.3).
func derLength(der []byte) (int, bool) {
	switch {
	case len(der) < 4 || der[0] != 0x30:
		return 0, false
	case der[1] < 0x80:
		return int(der[1]) + 2, true
	case der[1] == 0x81:
		return int(der[2]) + 3, true
	case der[1] == 0x82:
		return int(der[2])<<8 + int(der[3]) + 4, true
	}
	return 0, false
}

// encodedKey looks at base64 that begins like a PEM block, as in kubeconfig files and Kubernetes secrets.
func encodedKey(f *fileInfo, data []byte, at, after int) bool {
	if string(data[at:after]) != "LS0tLS1CRUdJTi" {
		return false
	}
	text := run(data[at:], isBase64)
	plain := make([]byte, base64.RawStdEncoding.DecodedLen(len(text)))
	n, _ := base64.RawStdEncoding.Decode(plain, text[:len(text)/4*4])
	plain = plain[:n]
	return pemKey(f, plain, 0, min(len(plain), len("-----BEGIN ")))
}

// webKey looks at a JSON web key (RFC 7517): the private ones have a member "d".
func webKey(_ *fileInfo, data []byte, at, after int) bool {
	from := bytes.LastIndexByte(data[:at], '{')
	to := bytes.IndexByte(data[after:], '}')
	if from < 0 || to < 0 {
		return false
	}
	var key struct {
		D string `json:"d"`
		K string `json:"k"`
		T string `json:"kty"`
	}
	if json.Unmarshal(data[from:after+to+1], &key) != nil {
		return false
	}
	value := key.D
	if key.T == "oct" {
		value = key.K
	}
	return len(value) >= 40 && !placeholder([]byte(value))
}

func puttyKey(_ *fileInfo, data []byte, at, after int) bool {
	if !bytes.HasPrefix(data[at:], []byte("PuTTY-User-Key-File-")) || after+1 >= len(data) || !isDigit(data[after]) || data[after+1] != ':' {
		return false
	}
	_, rest, ok := bytes.Cut(data[after:], []byte("\nPrivate-Lines: "))
	if !ok {
		return false
	}
	_, rest, _ = bytes.Cut(rest, []byte("\n"))
	return len(run(rest, isBase64)) >= 32
}

func signifyKey(_ *fileInfo, data []byte, at, after int) bool {
	line, rest, ok := bytes.Cut(data[after:], []byte("\n"))
	if at > 0 && data[at-1] != '\n' || !ok || !bytes.Contains(line, []byte("secret key")) {
		return false
	}
	body := run(rest, is(isBase64, one("=")))
	return len(body) >= minKeyChars && bytes.HasPrefix(body, []byte("RW")) && !placeholder(body)
}

// serviceAccount looks at the id of a key; its file holds the key besides.
func serviceAccount(_ *fileInfo, data []byte, _, after int) bool {
	id, ok := jsonText(data[after:])
	return ok && len(id) == 40 && len(run(id, isHex)) == 40 && !placeholder(id)
}

// jsonText is the text after a name in JSON: `: "text"`.
func jsonText(data []byte) ([]byte, bool) {
	data = bytes.TrimLeft(data, " \t")
	if len(data) == 0 || data[0] != ':' {
		return nil, false
	}
	data = bytes.TrimLeft(data[1:], " \t")
	if len(data) == 0 || data[0] != '"' {
		return nil, false
	}
	end := bytes.IndexByte(data[1:], '"')
	if end < 0 {
		return nil, false
	}
	return data[1 : end+1], true
}
