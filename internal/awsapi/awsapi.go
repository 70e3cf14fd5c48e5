// Package awsapi is what the driver and the balancer that use AWS share: how its SDK is set up, and what its errors mean.
//
// Settings come as AWS's own tools read them: the default credential chain, AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL.
// A request is tried again with exponential backoff and jitter, and after answers that ask for fewer requests a client sends
// fewer (the SDK's adaptive mode).
package awsapi

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/bootandshoot/release/internal/fault"
)

// Options of a client. The zero value is right.
type Options struct {
	Region   string         // "": AWS_REGION, the profile's, or the instance's own
	Endpoint string         // of every service; "": AWS_ENDPOINT_URL, else AWS's own
	Client   aws.HTTPClient // nil: one that keeps enough connections for many requests at a time
	Tries    int            // of a request; 0: 8
	Backoff  time.Duration  // the longest pause between two tries; 0: 20 s
}

// connections that are kept open for the next request: more than any caller has requests in flight.
const connections = 128

// Load reads the settings. It asks nobody but, for a region that is not set anywhere, the instance metadata service. Errors:
// no region, a profile that does not read (fault.Invalid).
func Load(ctx context.Context, o Options) (aws.Config, error) {
	if o.Tries == 0 {
		o.Tries = 8
	}
	if o.Backoff == 0 {
		o.Backoff = 20 * time.Second
	}
	load := []func(*config.LoadOptions) error{
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
		})),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewAdaptiveMode(func(a *retry.AdaptiveModeOptions) {
				a.StandardOptions = append(a.StandardOptions, func(s *retry.StandardOptions) { s.MaxAttempts, s.MaxBackoff = o.Tries, o.Backoff })
			})
		}),
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	} else {
		load = append(load, config.WithEC2IMDSRegion())
	}
	if o.Endpoint != "" {
		load = append(load, config.WithBaseEndpoint(o.Endpoint))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, fault.New(fault.Invalid, "read AWS settings: %w", err).WithHint("set AWS_REGION, and check ~/.aws/config and ~/.aws/credentials")
	}
	if o.Client != nil { // not earlier: AWS_CA_BUNDLE goes into no other client than the SDK's own
		cfg.HTTPClient = o.Client
	}
	if cfg.Region == "" {
		return aws.Config{}, fault.New(fault.Invalid, "read AWS settings: no region is set").WithHint("set AWS_REGION")
	}
	return cfg, nil
}
