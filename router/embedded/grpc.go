package embedded

import (
	"context"
	"net/http"

	"github.com/bootandshoot/release/router/embedded/http1"
)

const (
	grpcType = "application/grpc"
	// unavailable is the status that lets a client try again.
	unavailable = "14"
	// goesAway is what clients are told whose stream ends because its node leaves.
	goesAway = "the server goes away"
)

// isGRPC says whether a request is a gRPC call, which may be a stream: nothing in its head says whether it is. gRPC-Web is not
// meant: nearly all of its calls end by themselves, and its status is in the body, where the router could end none in order.
func isGRPC(contentType string) bool {
	if !hasPrefixFold(contentType, grpcType) {
		return false
	}
	rest := contentType[len(grpcType):]
	return rest == "" || rest[0] == '+' || rest[0] == ';'
}

// longH2C begins a gRPC call as a long connection, or gives nil: a stream's node may not answer before it has something to say.
func (x *exchange) longH2C(cancel context.CancelFunc) *streamEnd {
	if !isGRPC(view(x.req.Get(http1.ContentType))) {
		return nil
	}
	l := &streamEnd{node: x.node, stop: cancel}
	x.node.beginLong(x.e, l)
	return l
}

// part is front's: head and status in one. [gRPC over HTTP2, Trailers-Only]
func (f *h2front) part(x *exchange) {
	x.status = http.StatusOK
	header := f.w.Header()
	header.Set("Content-Type", grpcType)
	header["Content-Length"] = nil // net/http would say 0, of a body
	header.Set("Grpc-Status", unavailable)
	header.Set("Grpc-Message", goesAway)
	f.own(x)
	f.w.WriteHeader(http.StatusOK)
}
