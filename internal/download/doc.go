// Package download brings files from servers into a cache, where they lie under their sha256: checked while they come,
// continued after a cut, and safe with several processes at once.
//
//	<sha256>           a whole file; it is only ever put there by a rename, after its hash was found right
//	<sha256>.json      {"sha256","size","dates":{URL: when it changed last, zero if the server did not say}}
//	partial/<name>     a file under way; who has its lock (flock) may write it
//	partial/<name>.json {"url","validate"}: what must still hold for it to be continued, where its hash is not known beforehand
//
// A file whose sha256 is known beforehand is continued from any server, since the hash says in the end whether the pieces fit;
// one without is continued only from the same URL, if the server confirms that it is the same still.
//
// Which server is asked, and how often, is the caller's: Get asks one server once. Its errors say what to think of the
// server: *StatusError and *ContentError that it will not do better soon, a *fault.Error that no server can help (no space),
// everything else that it may.
package download
