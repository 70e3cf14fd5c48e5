package story

import (
	"context"
	"testing"
	"time"

	"github.com/bootandshoot/release/test/load"
)

// TestTenPercentIsTenPercent counts who answers 10,000 requests without cookies.
func TestTenPercentIsTenPercent(t *testing.T) {
	in := suite.New(t, "sandbox")
	in.WriteProject("sandbox", 2, "")
	in.Bake("v1")
	in.Operate("up")
	in.Operate("launch", in.Bake("v2"))
	in.Operate("cutover", "--percent", "10")
	report, err := load.Run(context.Background(), load.Options{URL: "http://" + in.Listen + "/", Rate: 1000, Duration: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	if got := report.Percent("v2"); report.Sent != 10_000 || got < 9 || got > 11 {
		t.Errorf("v2 answered %.2f %% of %d requests, want 10 ± 1 of 10,000", got, report.Sent)
	}
	if len(report.Failures) > 0 {
		t.Errorf("%d requests failed, the first: %+v", len(report.Failures), report.Failures[0])
	}
}
