package awsapi

import (
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
)

// Once is a retryer that gives answers with some codes to the caller at once, for whom there is something better than to ask the same again.
func Once(r aws.Retryer, code func(string) bool) aws.Retryer {
	if all, ok := r.(aws.RetryerV2); ok {
		return once{all, code}
	}
	return r
}

type once struct {
	aws.RetryerV2
	code func(string) bool
}

func (o once) IsErrorRetryable(err error) bool {
	var api smithy.APIError
	if errors.As(err, &api) && o.code(api.ErrorCode()) {
		return false
	}
	return o.RetryerV2.IsErrorRetryable(err)
}
