package http1

// neverTrailers are names, in lower case and besides the known ones, that may not come as trailers: what they say had
// to be known before the body (RFC 9110, 6.5.1); constant.
var neverTrailers = [...]string{
	"age", "authorization", "cache-control", "content-encoding", "content-range", "expires", "if-match",
	"if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "location", "max-forwards", "pragma",
	"range", "realm", "retry-after", "vary", "warning", "www-authenticate",
}

// TrailerAllowed reports whether a field, with its Known, may be forwarded as a trailer. No known name may: each
// frames, routes, or was acted on already. ChunkReader has dropped the others.
func TrailerAllowed(f Field) bool {
	if f.Known != Other {
		return false
	}
	for _, name := range neverTrailers {
		if fold(f.Name, name) {
			return false
		}
	}
	return true
}
