package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

// azureSecret looks at "Q~": three characters and a digit stand before it, 31 to 34 follow.
func azureSecret(_ *fileInfo, data []byte, at, after int) bool {
	in := is(isURL64, one(".~"))
	if at < 4 || data[at] != 'Q' || !isDigit(data[at-1]) || at > 4 && in(data[at-5]) {
		return false
	}
	body := run(data[after:], in)
	return len(run(data[at-4:at], in)) == 4 && len(body) >= 31 && len(body) <= 34 && !placeholder(body)
}

// openaiKey looks at the middle of an older key.
func openaiKey(_ *fileInfo, data []byte, at, after int) bool {
	before := runBefore(data[:at], isURL64)
	body := run(data[after:], isURL64)
	return string(data[at:after]) == "T3BlbkFJ" && bytes.HasPrefix(before, []byte("sk-")) && len(before) >= 23 && len(body) >= 20 && !placeholder(body)
}

// telegramToken looks at ":AA": the number of a bot stands before it.
func telegramToken(_ *fileInfo, data []byte, at, after int) bool {
	if string(data[at:after]) != ":AA" {
		return false
	}
	id := runBefore(data[:at], isDigit)
	body := run(data[after:], isURL64)
	if len(id) < 8 || len(id) > 10 || at > len(id) && isWord(data[at-len(id)-1]) {
		return false
	}
	return len(body) == 33 && !placeholder(body) && mixedCase(body)
}

// webToken looks at "eyJ": three parts of base64, the first of which is a header with a way of signing (RFC 7519).
func webToken(_ *fileInfo, data []byte, at, after int) bool {
	if string(data[at:after]) != "eyJ" || at > 0 && isURL64(data[at-1]) {
		return false
	}
	parts := bytes.SplitN(run(data[at:], is(isURL64, one("."))), []byte("."), 4)
	if len(parts) < 3 || !bytes.HasPrefix(parts[1], []byte("eyJ")) || len(parts[2]) < 20 || placeholder(parts[2]) {
		return false
	}
	var header struct {
		Alg string `json:"alg"`
	}
	plain := make([]byte, base64.RawURLEncoding.DecodedLen(len(parts[0])))
	n, err := base64.RawURLEncoding.Decode(plain, parts[0])
	return err == nil && json.Unmarshal(plain[:n], &header) == nil && header.Alg != "" && header.Alg != "none" && !published(bytes.Join(parts[:3], []byte(".")))
}

// urlPassword looks at "://": a user, a colon and a random password before the host.
func urlPassword(_ *fileInfo, data []byte, at, after int) bool {
	if len(runBefore(data[:at], isAlnum)) == 0 {
		return false
	}
	authority := run(data[after:min(len(data), after+300)], func(c byte) bool {
		return c > ' ' && c < 0x7f && bytes.IndexByte([]byte("/?#\"'<>`\\(){}$%*|"), c) < 0
	})
	i := bytes.LastIndexByte(authority, '@')
	if i < 0 || i+1 >= len(authority) {
		return false
	}
	_, password, ok := bytes.Cut(authority[:i], []byte(":"))
	return ok && len(password) >= 8 && random(password)
}
