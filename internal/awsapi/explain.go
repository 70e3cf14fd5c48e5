package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/bootandshoot/release/internal/fault"
)

// Is is whether err is an answer of AWS with one of these codes.
func Is(err error, codes ...string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode())
}

// Codes that say who asks is not known, or not any more. [EC2 API reference: common client error codes]
var (
	expired = []string{"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
	unknown = []string{"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "MissingAuthenticationToken", "OptInRequired"}
	refused = []string{"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"}
	used    = []string{"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientAddressCapacity", "Unsupported", "SpotMaxPriceTooLow", "InsufficientFreeAddressesInSubnet"}
)

// Explain gives an error of a call its class and the next step; doing is what for, without "error": "register image x". A
// nil error, an ended context, and what has a class already stay as they are.
func Explain(doing string, err error) error {
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known) || errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	}
	code, hint := classify(err)
	f := fault.New(code, "%s: %w", doing, err)
	if hint != "" {
		f.Hint = hint
	}
	return f
}

func classify(err error) (fault.Code, string) {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return outside(err)
	}
	switch code := api.ErrorCode(); {
	case slices.Contains(expired, code):
		return fault.Denied, "the credentials have expired: get new ones (for example \"aws sso login\"), or give the machine an instance role"
	case slices.Contains(unknown, code):
		return fault.Denied, "AWS does not accept the credentials: \"aws sts get-caller-identity\" says who you are; check the machine's clock too"
	case slices.Contains(refused, code):
		return fault.Denied, "add this statement to the policy of the role or user: " + statement(err)
	case slices.Contains(used, code):
		return fault.NoSpace, "AWS has no such machines there now: allow more instance types or zones, or try again later"
	case code == "ServiceQuotaExceededException" || code == "ConcurrentLimitExceededException" || code == "ResourceLimitExceeded" ||
		code == "LimitExceeded" || strings.HasSuffix(code, "LimitExceeded") && code != "RequestLimitExceeded" || strings.HasPrefix(code, "TooMany") && code != "TooManyRequestsException":
		return fault.NoSpace, "a quota of the account is reached: ask for more in the Service Quotas console, or remove what is not used (release images gc)"
	case api.ErrorFault() == smithy.FaultServer || retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool():
		return fault.Unavailable, "AWS asks for patience, and was asked several times: try again later"
	case failed(err):
		return fault.Unavailable, "AWS fails at its own side, and was asked several times: try again later, and see https://health.aws.amazon.com"
	}
	return fault.Failed, ""
}

// failed is whether the service says that it is the one at fault: Unavailable, InternalError and others, by the status of the answer.
func failed(err error) bool {
	var answer *smithyhttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode() >= http.StatusInternalServerError
}

// outside classes what is not an answer of a service.
func outside(err error) (fault.Code, string) {
	var network net.Error
	var sent *smithyhttp.RequestSendError
	switch text := err.Error(); {
	case strings.Contains(text, "get identity") || strings.Contains(text, "get credentials") || strings.Contains(text, "refresh cached credentials"):
		return fault.Denied, "no credentials were found: set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine an instance role"
	case errors.As(err, &network), errors.As(err, &sent), errors.Is(err, context.DeadlineExceeded):
		return fault.Unavailable, "AWS does not answer: check the network, AWS_REGION and AWS_ENDPOINT_URL"
	}
	return fault.Failed, ""
}

// prefixes of actions in policies, by the SDK's names of the services.
var prefixes = map[string]string{"EC2": "ec2", "EBS": "ebs", "Auto Scaling": "autoscaling", "Elastic Load Balancing v2": "elasticloadbalancing", "STS": "sts",
	"CloudWatch": "cloudwatch"}

// statement is what a policy lacks for a call.
func statement(err error) string {
	var op *smithy.OperationError
	if !errors.As(err, &op) {
		return "(the call is not known)"
	}
	return fmt.Sprintf(`{"Effect": "Allow", "Action": "%s:%s", "Resource": "*"}`, prefixes[op.Service()], op.Operation())
}
