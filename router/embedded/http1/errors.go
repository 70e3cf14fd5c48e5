package http1

import "errors"

// Limits. They are those of a caller's buffer too: one of MaxHead bytes holds every head that is accepted.
const (
	MaxTarget  = 16 << 10 // bytes of a request's target; more is 414
	MaxHead    = 64 << 10 // bytes from the first of a message to its body; more is 431
	MaxFields  = 200      // fields of a head, and of a trailer section; more is 431
	MaxTrailer = 16 << 10 // bytes of a trailer section; more is 431

	maxMethod    = 64       // bytes of a method; more is 501 (RFC 9112, 3)
	maxOptions   = 32       // options that Connection lists, so that Head.Hop stays cheap
	maxChunkLine = 1 << 10  // bytes of a chunk's size and extensions
	maxOverhead  = 16 << 10 // framing that a chunked body may have beyond 16 bytes a chunk and twice its data, as net/http
)

// ErrMore says that the bytes so far are a good beginning: call again with these and more.
var ErrMore = errors.New("more bytes needed")

// Error is a message that is refused.
type Error struct {
	// Status is what to answer a client: 400, 414, 417, 431, 501 or 505; 502 for a node's response.
	Status int
	// Reason is one of a fixed set of words, for metrics and logs; it holds nothing of the message.
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// ErrH2Preface is returned for the 24 bytes that a client begins HTTP/2 with (RFC 9113, 3.4); none are used.
var ErrH2Preface = &Error{505, "http2 preface"}

// ErrNoHost is a request that does not say whom it is for.
var ErrNoHost = &Error{400, "no host"}

var (
	errEmptyLine = &Error{400, "empty line"}
	errLineEnd   = &Error{400, "bad line end"}

	errMethod      = &Error{400, "bad method"}
	errMethodLong  = &Error{501, "method too long"}
	errTarget      = &Error{400, "bad target"}
	errTargetLong  = &Error{414, "target too long"}
	errVersion     = &Error{400, "bad version"}
	errOtherMajor  = &Error{505, "unknown version"}
	errStatusLine  = &Error{400, "bad status line"}
	errHeadLarge   = &Error{431, "head too large"}
	errManyFields  = &Error{431, "too many fields"}
	errName        = &Error{400, "bad field name"}
	errSpaceColon  = &Error{400, "space before colon"}
	errFolded      = &Error{400, "folded field"}
	errValue       = &Error{400, "bad field value"}
	errDisguised   = &Error{400, "disguised field"}
	errTwoHosts    = &Error{400, "two hosts"}
	errHost        = &Error{400, "bad host"}
	errLength      = &Error{400, "bad length"}
	errTwoLengths  = &Error{400, "two lengths"}
	errBoth        = &Error{400, "length and encoding"}
	errEncoding    = &Error{501, "unknown encoding"}
	errTwoEncoding = &Error{400, "two encodings"}
	errEncoding10  = &Error{400, "encoding in 1.0"}
	errTwoUpgrades = &Error{400, "two upgrades"}
	errOptions     = &Error{400, "too many connection options"}
	errTrailerName = &Error{400, "bad trailer name"}
	errExpect      = &Error{417, "unknown expectation"}

	errChunkSize    = &Error{400, "bad chunk size"}
	errChunkExt     = &Error{400, "bad chunk extension"}
	errChunkEnd     = &Error{400, "bad chunk end"}
	errChunkLine    = &Error{400, "chunk line too long"}
	errOverhead     = &Error{400, "too much framing"}
	errTrailerLarge = &Error{431, "trailer too large"}
)
