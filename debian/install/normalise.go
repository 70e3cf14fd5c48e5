package install

import (
	"strconv"
	"strings"

	"github.com/bootandshoot/release/images"
)

type action byte

const (
	drop    action = iota // not in the layer: what was there before shows
	prune                 // as drop, folders too
	empty                 // in the layer, with no content
	rewrite               // in the layer, with other content
)

// rule is what happens to files that differ from one installation to the next, or must not be the same in two machines.
type rule struct {
	pattern string
	do      action
	why     string
	rewrite func(data, before []byte, epoch int64) []byte
}

// rules are looked at in order; the first that matches a file counts.
var rules = [...]rule{
	{pattern: "var/log/*.log", do: drop, why: "tells when and how packages were installed"},
	{pattern: "var/log/apt/**", do: drop, why: "tells when and how packages were installed"},
	{pattern: "var/log/**", do: empty, why: "what a system logged while it was made is nobody's; who writes there expects the file"},
	{pattern: "var/cache/ldconfig/aux-cache", do: drop, why: "holds inode numbers and times of this disk; ldconfig makes it again"},
	{pattern: "var/cache/apt/*.bin", do: drop, why: "apt makes it again, and it holds times of this disk"},
	{pattern: "var/cache/man/**", do: drop, why: "man-db makes it again, and its databases hold times; in a bake it is not made, see fakes"},
	{pattern: "var/cache/debconf/*-old", do: drop, why: "a copy of the state before the last script"},
	{pattern: "var/lib/dpkg/*-old", do: drop, why: "a copy of the state before the last change"},
	{pattern: "var/lib/dpkg/lock", do: drop, why: "dpkg makes its locks again"},
	{pattern: "var/lib/dpkg/lock-frontend", do: drop, why: "dpkg makes its locks again"},
	{pattern: "var/lib/dpkg/triggers/Lock", do: drop, why: "dpkg makes its locks again"},
	{pattern: "var/lib/dpkg/tmp.ci/**", do: prune, why: "scratch"},
	{pattern: "var/lib/dpkg/tmp.ci", do: prune, why: "scratch"},
	{pattern: "var/lib/postgresql/*/*/**", do: prune, why: "a cluster has an identity of its own, and its data is no part of an image: `pg_createcluster` makes one"},
	{pattern: "var/lib/postgresql/*/*", do: prune, why: "a cluster that is left out"},
	{pattern: "etc/postgresql/*/*/**", do: prune, why: "the configuration of a cluster that is left out"},
	{pattern: "etc/postgresql/*/*", do: prune, why: "the configuration of a cluster that is left out"},
	{pattern: "var/lib/mysql/**", do: prune, why: "a database has an identity of its own, and its data is no part of an image: `mariadb-install-db` makes one"},
	{pattern: "var/backups/**", do: drop, why: "copies of files that are there"},
	{pattern: "etc/machine-id", do: empty, why: "names one machine: systemd fills it in at the first boot"},
	{pattern: "var/lib/dbus/machine-id", do: drop, why: "names one machine: dbus takes that of /etc, or makes one when it starts"},
	{pattern: "var/lib/systemd/random-seed", do: drop, why: "must differ between machines; systemd makes it at shutdown"},
	{pattern: "var/lib/systemd/credential.secret", do: drop, why: "must differ between machines; systemd makes it when it is first needed"},
	{pattern: "var/lib/urandom/random-seed", do: drop, why: "must differ between machines"},
	{pattern: "etc/ssh/ssh_host_*", do: drop, why: "must differ between machines: `ssh-keygen -A` makes them, at the first start of the service"},
	{pattern: "etc/ssl/private/ssl-cert-snakeoil.key", do: drop, why: "must differ between machines: `make-ssl-cert generate-default-snakeoil` makes it"},
	{pattern: "etc/ssl/certs/ssl-cert-snakeoil.pem", do: drop, why: "belongs to the key, which is left out"},
	{pattern: "etc/bind/rndc.key", do: drop, why: "must differ between machines: `rndc-confgen -a` makes it"},
	{pattern: "etc/varnish/secret", do: drop, why: "must differ between machines: a new random line is one"},
	{pattern: "etc/ssl/certs/java/cacerts", do: rewrite, why: "holds the time at which each certificate was added", rewrite: keystoreDates},
	{pattern: "etc/aliases.db", do: drop, why: "holds bytes of the memory of who made it: `newaliases` makes it again, before the mail server starts"},
	{pattern: "etc/shadow", do: rewrite, why: "holds the day of each account's last change", rewrite: shadowDays},
	{pattern: "etc/shadow-", do: rewrite, why: "holds the day of each account's last change", rewrite: shadowDays},
}

// ruleFor finds what happens to an entry; nil is nothing. Folders stay unless they are pruned.
func ruleFor(e images.Entry) *rule {
	for i := range rules {
		r := &rules[i]
		if !matches(r.pattern, e.Path) {
			continue
		}
		switch {
		case e.Type == images.Whiteout, e.Type == images.Opaque:
			return nil
		case r.do == prune:
			return r
		case e.Type == images.Dir:
			return nil
		case e.Type != images.File && r.do != drop:
			return nil
		case e.Type == images.Symlink && !strings.HasPrefix(e.Path, "etc/ss"):
			return nil // such as /var/lib/dbus/machine-id → /etc/machine-id
		}
		return r
	}
	if e.Type == images.Symlink && e.Link == "ssl-cert-snakeoil.pem" {
		return &snakeoilLink
	}
	return nil
}

var snakeoilLink = rule{do: drop, why: "leads to the certificate that is left out"}

// shadowDays gives accounts that are new, or changed, the day of the epoch; shadow(5): the third field counts days.
func shadowDays(data, before []byte, epoch int64) []byte {
	old := map[string]bool{}
	for line := range strings.Lines(string(before)) {
		old[strings.TrimSuffix(line, "\n")] = true
	}
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, ":")
		if !old[strings.TrimSuffix(line, "\n")] && len(f) > 3 && f[2] != "" && f[2] != "0" {
			f[2] = strconv.FormatInt(epoch/86400, 10)
			line = strings.Join(f, ":")
		}
		b.WriteString(line)
	}
	return []byte(b.String())
}
