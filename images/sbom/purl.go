package sbom

import (
	"fmt"
	"strings"
)

// DebianURL is the package URL of a Debian package.
func DebianURL(name, version, arch string) string {
	return purl("deb", "debian", name, version, "arch", arch)
}

// purl writes a package URL (package-url/purl-spec, PURL-SPECIFICATION.rst). namespace may have several segments or be "" or
// ".", version may be ""; qualifiers are pairs of key and value in ascending order of key, those without a value left out.
func purl(kind, namespace, name, version string, qualifiers ...string) string {
	var b strings.Builder
	b.WriteString("pkg:" + kind + "/")
	if namespace != "" && namespace != "." {
		for segment := range strings.SplitSeq(namespace, "/") {
			b.WriteString(escape(segment) + "/")
		}
	}
	b.WriteString(escape(name))
	if version != "" {
		b.WriteString("@" + escape(version))
	}
	mark := "?"
	for i := 0; i+1 < len(qualifiers); i += 2 {
		if qualifiers[i+1] != "" {
			b.WriteString(mark + qualifiers[i] + "=" + escape(qualifiers[i+1]))
			mark = "&"
		}
	}
	return b.String()
}

func escape(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
