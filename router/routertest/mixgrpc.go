package routertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const mixService = "release.Mix"

// texts carries strings as they are.
type texts struct{}

func (texts) Name() string                       { return "text" }
func (texts) Marshal(v any) ([]byte, error)      { return []byte(*v.(*string)), nil }
func (texts) Unmarshal(data []byte, v any) error { *v.(*string) = string(data); return nil }

var errNoName = errors.New("the answer names no node")

// newMixServer is a node's gRPC service: Echo sends a text back, Chat each text of a stream.
func newMixServer(name string) *grpc.Server {
	s := grpc.NewServer(grpc.ForceServerCodec(texts{}))
	from := metadata.Pairs("x-node", name)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: mixService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			text := new(string)
			if err := decode(text); err != nil {
				return nil, err
			}
			return text, grpc.SetHeader(ctx, from)
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: func(_ any, chat grpc.ServerStream) error {
			if err := chat.SendHeader(from); err != nil {
				return err
			}
			for {
				text := new(string)
				if err := chat.RecvMsg(text); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if err := chat.SendMsg(text); err != nil {
					return err
				}
			}
		}}},
	}, struct{}{})
	return s
}

// dialGRPC is a client without a retry policy of its own.
func (m *Mix) dialGRPC() (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+m.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.ForceCodec(texts{})))
}

// nodeIn is who sent the header.
func nodeIn(header metadata.MD) string {
	if list := header.Get("x-node"); len(list) > 0 {
		return list[0]
	}
	return ""
}

// calls are short ones, large and small.
func (m *Mix) calls(ctx context.Context, t *tally) error {
	conn, err := m.dialGRPC()
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := 0; ctx.Err() == nil; i++ {
		t.ask(false) // a gRPC request is a POST with a body
		in, out := fmt.Sprintf("%*d", 1+i%4*10_000, i), ""
		var header metadata.MD
		limited, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := conn.Invoke(limited, "/"+mixService+"/Echo", &in, &out, grpc.Header(&header))
		cancel()
		t.begun(nodeIn(header))
		switch {
		case err != nil:
			return err
		case out != in:
			return fmt.Errorf("%.100q came back as %.100q", in, out)
		case t.node == "":
			return errNoName
		}
		t.done()
	}
	return nil
}

// chats talk until they are told that the server goes away.
func (m *Mix) chats(ctx context.Context, t *tally) error {
	conn, err := m.dialGRPC()
	if err != nil {
		return err
	}
	defer conn.Close()
	limited, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	t.ask(false)
	chat, err := conn.NewStream(limited, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+mixService+"/Chat")
	if err != nil {
		return err
	}
	header, err := chat.Header()
	if err != nil {
		return err
	}
	t.begun(nodeIn(header))
	for i := 0; ctx.Err() == nil; i++ {
		t.message()
		in, out := fmt.Sprint("message ", i), ""
		sent := chat.SendMsg(&in)
		err := chat.RecvMsg(&out)
		switch {
		case status.Code(err) == codes.Unavailable && status.Convert(err).Message() == "the server goes away":
			m.Ended.Add(1)
			t.done()
			return nil
		case err != nil:
			return fmt.Errorf("after %d messages: %w", i, errors.Join(err, sent))
		case out != in:
			return fmt.Errorf("%q came back as %q", in, out)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := chat.CloseSend(); err != nil {
		return err
	}
	switch err := chat.RecvMsg(new(string)); {
	case status.Code(err) == codes.Unavailable && status.Convert(err).Message() == "the server goes away":
		m.Ended.Add(1)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("after the last message: %w", err)
	}
	return nil
}
