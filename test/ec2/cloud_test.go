package ec2

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootandshoot/release/api"
	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/instance"
	"github.com/bootandshoot/release/test/harness"
)

const (
	region = awstest.Region
	size   = 3
)

// cloud is an installation, and the AWS that it uses.
type cloud struct {
	*harness.Installation
	t      *testing.T
	server *awstest.Server

	mu       sync.Mutex
	versions map[string]string // by image
	sick     map[string]bool   // images and nodes whose health check fails
}

func begin(t *testing.T) *cloud {
	c := &cloud{t: t, versions: map[string]string{}, sick: map[string]bool{}}
	c.Installation = suite.New(t, "sandbox")
	c.server = awstest.Start(t, awstest.Options{Takes: 200 * time.Millisecond, Lag: 100 * time.Millisecond, Serve: c.hello, Listen: func(int) string { return c.Listen }})
	c.server.Use(t)
	for name, value := range awstest.Variables(c.server.URL) {
		c.Env = append(c.Env, name+"="+value)
	}
	release := strings.Replace(c.Read("release.yaml"), "fleet: {driver: sandbox, size: 3, stop: {grace: 5s}}",
		fmt.Sprintf("fleet: {driver: ec2, size: %d, stop: {grace: 5s}, ec2: {types: [t3.micro, t3a.micro], spot: 50%%}, secrets: {KEY: env:HOME}}", size), 1)
	c.Write("release.yaml", strings.Replace(release, "port: 8080}}", "port: 8080}, interval: 200ms, start_within: 15s, replace_after: 1s}", 1)+
		"cutover: {keep_previous: 1h, drain: {timeout: 5s}}\n")
	return c
}

// hello is what the instances answer: the example's service, as far as it is asked here.
func (c *cloud) hello(i awstest.Instance) (port int, answers http.Handler) {
	settings, err := instance.Parse([]byte(i.UserData))
	if err != nil || settings.Environment["KEY"] == "" {
		c.t.Errorf("user data of %s: %+v %v", i.ID, settings, err)
	}
	port, _ = strconv.Atoi(settings.Environment["PORT"])
	image := i.Tags["release.image"]
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if _, sick := c.about(image, settings.Hostname); sick {
			http.Error(w, "sick", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		version, _ := c.about(image, settings.Hostname)
		w.Header().Set("X-Hello-Version", version)
		w.Header().Set("X-Hello-Node", settings.Hostname)
		fmt.Fprintln(w, "hello", version)
	})
	return port, mux
}

func (c *cloud) about(image, node string) (version string, sick bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.versions[image], c.sick[image] || c.sick[node]
}

// bake bakes a version as a machine, since that is what the fleet boots.
func (c *cloud) bake(version string) string {
	c.t.Helper()
	image := c.Bake(version)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.versions[image] = version
	return image
}

// container bakes an image that is no machine.
func (c *cloud) container() string {
	c.t.Helper()
	c.BuildHello("v1")
	var res api.BakeResult
	if code := c.JSON(&res, "bake", "--target", "container"); code != 0 {
		c.t.Fatalf("bake: %d %+v", code, res.Error)
	}
	return res.Image
}

// ill makes the health checks of an image's instances, or of one node, fail, or not any more.
func (c *cloud) ill(what string, ill bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sick[what] = ill
}

// share holds that a version gets about that many percent of the requests.
func (c *cloud) share(version string, percent int) {
	c.t.Helper()
	const asked = 400
	got := 0
	for range asked {
		answer, err := http.Get("http://" + c.Listen + "/")
		if err != nil {
			c.t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.Header.Get("X-Hello-Version") == version {
			got++
		}
	}
	if share := 100 * got / asked; share < percent/2 || share > 2*percent {
		c.t.Errorf("%s got %d %% of the requests, want about %d", version, share, percent)
	}
}
