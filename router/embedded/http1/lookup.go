package http1

// Lookup is the number of a field's name, which must be a token, for heads that came in another form than HTTP/1's.
func Lookup(name []byte) Known {
	k, err := lookupDisguised(name)
	if err != nil {
		return XForwardedOther // framing in disguise: not to be believed
	}
	return k
}
