// Package secrets finds secrets in what a bake puts into an image: keys, tokens, files of credentials, and random values
// under names that say password, secret or token. It also finds and masks values that are known, for build secrets.
//
// # How a file is searched
//
// An automaton (Aho and Corasick, 1975) goes over the bytes once and stops at anchors: "ghp_", "-----BEGIN", "password".
// Only there a rule looks closer, at what stands around the anchor. A file is read in pieces; a piece overlaps the next by as
// much as the longest look ahead, so what memory it takes does not depend on the file's size.
//
// A file with a zero byte in its first 8 KiB is binary: in it only keys and tokens with a prefix of their own are looked
// for, since a random value under a name has no meaning there. Rules for names of files (".env", ".netrc") read the first
// 64 KiB of them. Archives and compressed files are not opened, nor is text in UTF-16.
//
// # What counts
//
// A rule prefers to be right over finding all: a token must have its exact form and a body that is no placeholder, a key
// must decode, a value under a name must look random (see random). Keys that their authors have published, such as those
// in self-tests of libraries, are known by their hash and do not count.
//
// A finding never holds the secret, only where it is. Findings are one for each path and rule, so a list of them is not
// longer than the list of files.
package secrets

// Version is of the rules: it rises with every change to what they find, so that kept results of others do not count.
const Version = 4

// Finding is a secret in a file.
type Finding struct {
	Rule  string `json:"rule"`
	Path  string `json:"path"`            // absolute in the image; "env:NAME" and the like for what is not in a file
	Line  int    `json:"line,omitempty"`  // of the first, from 1; 0 in a binary file and for a file as a whole
	Count int    `json:"count,omitempty"` // how many, at least
}

// Rule describes one of the rules.
type Rule struct {
	ID          string
	Description string // what was found, as in "a private key"
}

// Rules lists all rules by id.
func Rules() []Rule {
	var list []Rule
	seen := map[string]bool{}
	for _, r := range allRules() {
		if !seen[r.id] {
			seen[r.id] = true
			list = append(list, Rule{r.id, r.description})
		}
	}
	for _, f := range fileRules() {
		if !seen[f.id] {
			seen[f.id] = true
			list = append(list, Rule{f.id, f.description})
		}
	}
	return append(list, Rule{gitFolder, "a .git folder: the whole history, and what its configuration says"})
}

// gitFolder is the rule for folders of git.
const gitFolder = "git-folder"

// Describe is the description of a rule, false when there is none with this id.
func Describe(id string) (string, bool) {
	for _, r := range Rules() {
		if r.ID == id {
			return r.Description, true
		}
	}
	return "", false
}
