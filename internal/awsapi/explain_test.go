package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/bootandshoot/release/internal/fault"
)

func TestExplain(t *testing.T) {
	answer := func(code string) error {
		return &smithy.OperationError{ServiceID: "EC2", OperationName: "RegisterImage", Err: &smithy.GenericAPIError{Code: code, Message: "no"}}
	}
	failing := func(code string) error {
		return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: http.StatusServiceUnavailable}}, Err: answer(code)}
	}
	tests := []struct {
		err  error
		want fault.Code
		hint string
	}{
		{answer("UnauthorizedOperation"), fault.Denied, `"Action": "ec2:RegisterImage"`},
		{answer("AccessDeniedException"), fault.Denied, `"Action": "ec2:RegisterImage"`},
		{answer("ExpiredToken"), fault.Denied, "expired"},
		{answer("RequestExpired"), fault.Denied, "expired"},
		{answer("AuthFailure"), fault.Denied, "get-caller-identity"},
		{answer("SnapshotLimitExceeded"), fault.NoSpace, "quota"},
		{answer("VcpuLimitExceeded"), fault.NoSpace, "quota"},
		{answer("ServiceQuotaExceededException"), fault.NoSpace, "quota"},
		{answer("TooManyTargetGroups"), fault.NoSpace, "quota"},
		{answer("InsufficientInstanceCapacity"), fault.NoSpace, "zones"},
		{answer("RequestLimitExceeded"), fault.Unavailable, "later"},
		{answer("ThrottlingException"), fault.Unavailable, "later"},
		{answer("InvalidParameterValue"), fault.Failed, ""},
		{failing("Unavailable"), fault.Unavailable, "health.aws.amazon.com"},
		{failing("InsufficientInstanceCapacity"), fault.NoSpace, "zones"},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, fault.Unavailable, "AWS_ENDPOINT_URL"},
		{errors.New("get identity: get credentials: no EC2 IMDS role found"), fault.Denied, "AWS_PROFILE"},
		{fmt.Errorf("x: %w", fault.New(fault.Busy, "y")), fault.Busy, ""},
		{errors.New("strange"), fault.Failed, ""},
	}
	for _, tt := range tests {
		got := Explain("register image x", tt.err)
		var f *fault.Error
		if fault.CodeOf(got) != tt.want || !errors.Is(got, tt.err) || !errors.As(got, &f) || !strings.Contains(f.Hint, tt.hint) {
			t.Errorf("%v: %v, class %s, hint %q; want %s and %q", tt.err, got, fault.CodeOf(got), f.Hint, tt.want, tt.hint)
		}
	}
	if Explain("x", nil) != nil || !errors.Is(Explain("x", context.Canceled), context.Canceled) {
		t.Error("no error, or an ended context, became something else")
	}
}
