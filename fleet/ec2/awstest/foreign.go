package awstest

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

// Elsewhere runs tests of the same binary, by a pattern as -test.run takes it, in a process to which a server is a foreign endpoint: an
// account without a default network, where what tests need is made first. They have to pass, to leave nothing, and to make calls of the names
// given on their way.
func Elsewhere(t *testing.T, o Options, pattern string, made ...string) {
	t.Helper()
	if os.Getenv("AWS_ENDPOINT_URL") != "" {
		t.Skip("there is a foreign endpoint: AWS_ENDPOINT_URL")
	}
	o.NoNetwork = true
	s := Start(t, o)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", pattern, "-test.v")
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+s.URL)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s elsewhere: %v\n%s", pattern, err, out)
	}
	calls := s.Calls()
	for _, name := range append(made, "ec2:CreateVpc", "ec2:DeleteVpc") {
		if !slices.ContainsFunc(calls, func(c Call) bool { return c.Name() == name }) {
			t.Errorf("%s elsewhere: %s was not called, of %d calls\n%s", pattern, name, len(calls), out)
		}
	}
	for _, region := range []string{Region, "us-west-2"} {
		if left := s.Left(region); len(left) > 0 {
			t.Errorf("left in %s: %v", region, left)
		}
	}
}
