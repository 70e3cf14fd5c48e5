package ec2

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/bootandshoot/release/fleet/ec2/awstest"
	"github.com/bootandshoot/release/internal/awsapi"
)

// TestForgets: an agent that has run for years does not remember each fleet and image that it had.
func TestForgets(t *testing.T) {
	c := here(t, awstest.Options{Takes: time.Millisecond})
	d := c.driver(func(o *Options, _ *awsapi.Options) { o.Settles = time.Millisecond })
	for range 3 {
		spec, _ := c.boot(d, 1)
		if err := d.Destroy(t.Context(), spec.Fleet); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Millisecond) // until what was destroyed is forgotten
	spec, _ := c.boot(d, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.work) != 1 || d.work[spec.Fleet] == nil || len(d.images) != 0 {
		t.Errorf("it remembers %d fleets and %d images", len(d.work), len(d.images))
	}
}

// TestSaysOnce: an instance that carries our tag and is no node is said once, and again only when it was away.
func TestSaysOnce(t *testing.T) {
	c := here(t, awstest.Options{})
	var log bytes.Buffer
	d := c.driver(func(o *Options, _ *awsapi.Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	spec, nodes := c.boot(d, 2)
	if _, err := d.ec2.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{nodes[0].Host}, Tags: tags(tagSlot, "none")}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.nodes(d, spec)
		if _, err := d.Fleets(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "is no node"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, log.String())
	}
	if _, err := d.ec2.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{aws.ToString(&nodes[0].Host)}}); err != nil {
		t.Fatal(err)
	}
}
