package embedded

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/router/embedded/http1"
)

// tracer exports a span for requests: those whose client says that they are traced, and a sample of the others.
// Without one, trace headers only pass through. [W3C Trace Context; OpenTelemetry semantic conventions for HTTP]
type tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// newTracer exports to an OTLP endpoint over HTTP, "http://127.0.0.1:4318"; nil for none.
func newTracer(ctx context.Context, cfg Config) (*tracer, error) {
	if cfg.OTLP == "" {
		return nil, nil
	}
	if u, err := url.Parse(cfg.OTLP); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fault.New(fault.Invalid, "start router: OTLP endpoint %q is not http://host:port", cfg.OTLP)
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(cfg.OTLP))
	if err != nil {
		return nil, fmt.Errorf("start router: export spans: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.TraceSample))),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "release-router"), attribute.String("service.version", cfg.Version))),
	)
	return &tracer{provider: provider, tracer: provider.Tracer("github.com/bootandshoot/release/router")}, nil
}

func (t *tracer) close(limit time.Duration) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // what could not be exported is lost, and nothing else
}

// begin starts the request's span under that of its client.
func (t *tracer) begin(x *exchange) trace.Span {
	if t == nil {
		return nil
	}
	carrier := propagation.MapCarrier{}
	for _, known := range []http1.Known{http1.Traceparent, http1.Tracestate} {
		if v := x.req.Get(known); v != nil {
			carrier[known.String()] = string(v)
		}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), carrier)
	method := string(x.req.Method)
	_, span := t.tracer.Start(ctx, method+" "+x.route.name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(x.start))
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("http.request.method", method), attribute.String("url.path", strings.Clone(x.urlPath)),
			attribute.String("server.address", strings.Clone(x.host)), attribute.String("client.address", x.client.String()),
			attribute.String("release.route", x.route.name),
		)
	}
	return span
}

// appendTrace writes the headers that put the node's spans under ours.
func (x *exchange) appendTrace(dst []byte) []byte {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), x.span), carrier)
	for name, value := range carrier {
		dst = http1.AppendField(dst, name, value)
	}
	return dst
}

// endSpan says how the request ended.
func (x *exchange) endSpan() {
	if x.span == nil {
		return
	}
	if x.span.IsRecording() {
		x.span.SetAttributes(attribute.Int("http.response.status_code", x.status), attribute.Int("release.tries", x.tries))
		if x.target != nil {
			x.span.SetAttributes(attribute.String("release.fleet", x.target.id), attribute.String("release.release", x.target.release))
		}
		if x.node != nil {
			x.span.SetAttributes(attribute.String("release.node", x.node.name))
		}
		if x.status >= 500 || x.outcome != "" {
			x.span.SetStatus(codes.Error, x.outcome)
		}
	}
	x.span.End()
	x.span = nil
}
