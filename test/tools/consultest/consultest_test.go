package consultest

import "testing"

// .ci/prepare runs it, so that Consul is built before a test's time counts.
func TestClusterOutlivesItsLeader(t *testing.T) {
	c := Start(t, Options{Servers: 3})
	client := c.Client()
	leader := c.Leader()
	leader.Kill()
	if next := c.Leader(); next == leader {
		t.Fatalf("%s leads after it was killed", leader.Host)
	}
	c.Await()
	client.await("a leader", client.ready)
	leader.Start()
	c.Await()
	if leader.leader() == "" {
		t.Error("the server that came back knows no leader")
	}
}
