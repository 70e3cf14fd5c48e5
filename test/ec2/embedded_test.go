package ec2

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bootandshoot/release/test/load"
)

// TestEmbeddedRouter: the router that comes with release sends users to instances as it does to other nodes: a launch, a cutover under load
// that costs no request, and the end, after which nothing runs.
func TestEmbeddedRouter(t *testing.T) {
	c := begin(t)
	v1 := c.bake("v1")
	c.Operate("launch", v1)
	c.Operate("cutover")
	c.Write("release.yaml", strings.Replace(c.Read("release.yaml"), "secrets: {KEY", "env: {LOG: debug}, secrets: {KEY", 1)) // another release of one image
	report, err := load.During(t.Context(), load.Options{URL: "http://" + c.Listen + "/", Rate: 50}, func() {
		c.Operate("launch", v1)
		res := c.Operate("cutover")
		if res.Release != "r2" || res.From != "r1" || res.Percent != 100 || res.Ledger.Failed != 0 || res.Ledger.Cut != 0 {
			t.Errorf("cutover: %+v", res)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed > 0 || report.OK == 0 || report.ByRelease["v1"] != report.OK {
		t.Errorf("%s", report)
	}
	if living := c.server.Living(region); len(living) != 2*size {
		t.Errorf("instances %v, want %d that serve and %d that are warm", living, size, size)
	}
	c.Operate("destroy", "-y")
	if living := c.server.Living(region); len(living) != 0 {
		t.Errorf("instances are left: %s", fmt.Sprint(living))
	}
}
