package secrets

import (
	"bytes"
	"path"
	"strings"
)

// fileRule finds one kind of file by its name and checks that it holds what such files hold.
type fileRule struct {
	id, description string
	named           func(name string) bool // name is the path in the image, without the first slash
	// line reports whether a line, without blanks at its ends, has what makes the file a secret; nil takes whole instead.
	line  func(line []byte) bool
	whole func(head []byte) bool
}

// headSize is how much of a file the rules for names read.
const headSize = 64 << 10

// ends gives a test for paths that end in one of some, at a slash.
func ends(list ...string) func(string) bool {
	return func(name string) bool {
		for _, e := range list {
			if name == e || strings.HasSuffix(name, "/"+e) {
				return true
			}
		}
		return false
	}
}

func fileRules() []fileRule {
	return []fileRule{
		{id: "env-file", description: "a .env file with values", named: isEnvFile, line: envLine},
		{id: "git-credentials", description: "a file of credentials of git", named: ends(".git-credentials", ".config/git/credentials"), line: contains("://", ":", "@")},
		{id: "netrc", description: "a .netrc with passwords", named: ends(".netrc", "_netrc"), line: wordThenValue("password")},
		{id: "npmrc", description: "an .npmrc with a login", named: ends(".npmrc", "etc/npmrc"), line: setting("=", "_authtoken", "_auth", "_password")},
		{id: "pypirc", description: "a .pypirc with a password", named: ends(".pypirc"), line: setting("=:", "password")},
		{id: "docker-config", description: "a login in a configuration of Docker", named: ends(".docker/config.json", ".dockercfg", ".dockerconfigjson", "containers/auth.json"),
			whole: jsonMember("auth", "identitytoken", "registrytoken", "password")},
		{id: "aws-credentials", description: "a file of credentials of AWS", named: ends(".aws/credentials", ".aws/config", ".s3cfg", ".boto", ".passwd-s3fs"),
			line: setting("=", "aws_secret_access_key", "secret_key", "gs_secret_access_key", "aws_session_token")},
		{id: "gcloud-credentials", description: "a login of Google Cloud", named: ends("application_default_credentials.json", "gcloud/legacy_credentials", "gcloud/access_tokens.db"),
			whole: jsonMember("refresh_token", "private_key")},
		{id: "kubeconfig", description: "a kubeconfig with a login", named: ends(".kube/config", "kubeconfig", "kubeconfig.yaml", "kubernetes/admin.conf", "kubernetes/super-admin.conf", "kubelet.conf"),
			line: setting(":", "client-key-data", "token", "password")},
		{id: "pgpass", description: "a .pgpass with passwords", named: ends(".pgpass"), line: pgpassLine},
		{id: "my-cnf", description: "a .my.cnf with a password", named: ends(".my.cnf", ".mylogin.cnf"), line: setting("=", "password")},
		{id: "package-login", description: "a login of a package registry", named: ends(".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials", ".m2/settings.xml", ".composer/auth.json"),
			line: packageLogin},
		{id: "tool-login", description: "a login of a tool", named: ends(".config/gh/hosts.yml", ".config/hub", ".config/glab-cli/config.yml", ".terraformrc", "credentials.tfrc.json", ".config/rclone/rclone.conf", ".config/doctl/config.yaml"),
			line: setting(":=", "oauth_token", "token", "pass", "access-token", "client_secret", "secret_access_key")},
		{id: "key-store", description: "a store of private keys (PKCS #12)", named: func(name string) bool {
			e := strings.ToLower(path.Ext(name))
			return e == ".p12" || e == ".pfx"
		}, whole: func(head []byte) bool { return len(head) > 100 && head[0] == 0x30 && head[1] >= 0x80 }},
	}
}

// isEnvFile: .env and .env.production, but not .env.example.
func isEnvFile(name string) bool {
	base := path.Base(name)
	if base != ".env" && !strings.HasPrefix(base, ".env.") {
		return false
	}
	for _, harmless := range []string{"example", "sample", "template", "dist", "default", "schema", "vault", "d.ts"} {
		if strings.Contains(base, harmless) {
			return false
		}
	}
	return true
}

// envLine: NAME=value.
func envLine(line []byte) bool {
	line = bytes.TrimPrefix(line, []byte("export "))
	name, value, ok := bytes.Cut(line, []byte("="))
	return ok && len(name) > 0 && len(run(name, isWord)) == len(name) && isValue(value)
}

// isValue reports whether a value is one, and no reference to a variable.
func isValue(value []byte) bool {
	value = bytes.Trim(value, " \t\"',")
	return len(value) > 0 && value[0] != '$' && value[0] != '<' && !bytes.HasPrefix(value, []byte("{{")) && !bytes.EqualFold(value, []byte("null"))
}

// contains: the texts, in this order.
func contains(texts ...string) func([]byte) bool {
	return func(line []byte) bool {
		for _, t := range texts {
			i := bytes.Index(line, []byte(t))
			if i < 0 {
				return false
			}
			line = line[i+len(t):]
		}
		return true
	}
}

// wordThenValue: a word and, after blanks, a value.
func wordThenValue(word string) func([]byte) bool {
	return func(line []byte) bool {
		fields := bytes.Fields(line)
		for i, f := range fields {
			if string(f) == word && i+1 < len(fields) && isValue(fields[i+1]) {
				return true
			}
		}
		return false
	}
}

// setting: a name that is, or after the last of ":" and "/" is, one of names, one of signs, and a value.
func setting(signs string, names ...string) func([]byte) bool {
	return func(line []byte) bool {
		if len(line) == 0 || line[0] == '#' || line[0] == ';' {
			return false
		}
		line = bytes.TrimPrefix(line, []byte("- "))
		for rest := line; ; {
			i := bytes.IndexAny(rest, signs)
			if i < 0 {
				return false
			}
			name := bytes.Trim(line[:len(line)-len(rest)+i], " \t\"'")
			if j := bytes.LastIndexAny(name, ":/"); j >= 0 {
				name = name[j+1:]
			}
			for _, n := range names {
				if bytes.EqualFold(name, []byte(n)) && isValue(rest[i+1:]) {
					return true
				}
			}
			rest = rest[i+1:]
		}
	}
}

// jsonMember: a member with a text that is not empty.
func jsonMember(names ...string) func([]byte) bool {
	return func(head []byte) bool {
		for _, n := range names {
			quoted := []byte(`"` + n + `"`)
			for rest := head; ; {
				i := bytes.Index(rest, quoted)
				if i < 0 {
					break
				}
				rest = rest[i+len(quoted):]
				if text, ok := jsonText(rest); ok && isValue(text) {
					return true
				}
			}
		}
		return false
	}
}

// pgpassLine: host:port:database:user:password.
func pgpassLine(line []byte) bool {
	fields := bytes.SplitN(line, []byte(":"), 5)
	return len(fields) == 5 && line[0] != '#' && isValue(fields[4])
}

func packageLogin(line []byte) bool {
	if _, rest, ok := bytes.Cut(line, []byte("<password>")); ok {
		text, _, _ := bytes.Cut(rest, []byte("<"))
		return isValue(text)
	}
	return setting("=:", "token", "rubygems_api_key", "password", "bearer", "github.com")(line)
}

// settingsNamed reports whether a name is that of a file of settings, in which values need no quotes.
func settingsNamed(name string) bool {
	base := strings.ToLower(path.Base(name))
	switch path.Ext(base) {
	case ".env", ".ini", ".conf", ".cfg", ".cnf", ".yaml", ".yml", ".toml", ".properties", ".tfvars", ".json", ".xml", ".service", ".config", ".credentials":
		return true
	}
	return strings.HasPrefix(base, ".env") || strings.HasPrefix(name, "etc/") && path.Ext(base) == "" ||
		strings.Contains(base, "credential") || strings.HasPrefix(base, ".") && strings.HasSuffix(base, "rc")
}
