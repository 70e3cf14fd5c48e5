package awsapi

import (
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/fault"
)

// bare takes away all settings that the machine of the test may have.
func bare(t *testing.T, set map[string]string) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	for name, value := range set {
		t.Setenv(name, value)
	}
}

// TestInstanceRole: on an instance nothing has to be set: region and credentials come from the metadata service, version 2.
func TestInstanceRole(t *testing.T) {
	s := awstest.Start(t, awstest.Options{})
	bare(t, map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": s.URL, "AWS_ENDPOINT_URL": s.URL})
	cfg, err := Load(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil || cfg.Region != "eu-central-1" || aws.ToString(who.Account) != awstest.Account {
		t.Errorf("in %q: %+v %v", cfg.Region, who, err)
	}
}

func TestNoRegion(t *testing.T) {
	bare(t, map[string]string{"AWS_EC2_METADATA_DISABLED": "true"})
	if _, err := Load(t.Context(), Options{}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("no region: %v", err)
	}
}

func TestThrottledIsTriedAgain(t *testing.T) {
	s := awstest.Start(t, awstest.Options{})
	s.Intercept(func(c awstest.Call) *awstest.Fault {
		if c.N == 1 {
			return &awstest.Fault{Status: http.StatusBadRequest, Code: "Throttling", Message: "Rate exceeded"}
		}
		return nil
	})
	bare(t, map[string]string{"AWS_ENDPOINT_URL": s.URL, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"})
	cfg, err := Load(t.Context(), Options{Region: "us-east-1", Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil); err != nil || len(s.Calls()) != 2 {
		t.Errorf("after %d calls: %v", len(s.Calls()), err)
	}
}
