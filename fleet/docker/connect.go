package docker

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/docker/cli/cli/connhelper"
	"github.com/docker/docker/client"

	"github.com/bootandshoot/release/fleet/dockerapi"
	"github.com/bootandshoot/release/internal/fault"
)

// Remote is how an engine on another machine is reached.
type Remote struct {
	Address    string // at which the ports are reached that it publishes; "": that of its URL
	Certs      string // tcp: a folder with ca.pem, cert.pem and key.pem; "": DOCKER_CERT_PATH
	Identity   string // ssh: the file of the private key; "": as ssh is configured
	KnownHosts string // ssh: the file with the keys of hosts; "": as ssh is configured
}

// Bounds of connections by ssh: to a host that does not answer, and to one that does not answer any more.
const (
	sshConnect = "ConnectTimeout=5"
	sshAlive   = "ServerAliveInterval=5"
	sshDead    = "ServerAliveCountMax=2"
	// sshIdle is how many connections by ssh are kept for the next call: each is a process here, and a login there.
	sshIdle     = 8
	sshIdleTime = time.Minute
)

// connect makes a client for host, or for what the DOCKER_* variables say, and gives its URL. It does not connect yet.
func connect(host string, remote *Remote) (c *client.Client, daemon string, err error) {
	if host == "" && remote == nil {
		host = os.Getenv(client.EnvOverrideHost)
	}
	var opts []client.Opt
	switch {
	case strings.HasPrefix(host, "ssh://"):
		opts, err = bySSH(host, remote)
	case remote == nil:
		opts = []client.Opt{client.FromEnv}
		if host != "" {
			opts = append(opts, client.WithHost(host))
		}
	case strings.HasPrefix(host, "tcp://"):
		opts, err = byTLS(host, remote.Certs)
	default:
		opts = []client.Opt{client.WithHost(host)}
	}
	if err == nil {
		c, err = dockerapi.NewClient(opts...)
	}
	switch {
	case err == nil && strings.HasPrefix(host, "ssh://"):
		return c, host, nil
	case err == nil:
		return c, c.DaemonHost(), nil
	case fault.CodeOf(err) != fault.Failed:
		return nil, "", err
	case remote != nil:
		return nil, "", fault.New(fault.Invalid, "connect to docker engine at %s: %w", host, err).WithHint("see docker_hosts in agent.yaml")
	}
	return nil, "", fault.New(fault.Invalid, "connect to docker engine: %w", err).WithHint("check DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH")
}

// bySSH connects by the ssh program, as docker's own command line does: it runs "docker system dial-stdio" there, which must be
// installed. Nothing is asked of a person.
func bySSH(host string, remote *Remote) ([]client.Opt, error) {
	helper, err := connhelper.GetConnectionHelperWithSSHOpts(host, sshFlags(remote))
	if err != nil {
		return nil, fault.New(fault.Invalid, "connect to docker engine at %s: %w", host, err).WithHint("ssh://[user@]host[:port]")
	}
	transport := &http.Transport{DialContext: helper.Dialer, MaxIdleConnsPerHost: sshIdle, IdleConnTimeout: sshIdleTime}
	return []client.Opt{client.WithHTTPClient(&http.Client{Transport: transport}), client.WithHost(helper.Host), client.WithDialContext(helper.Dialer)}, nil
}

// sshFlags are the options of ssh beside those of a user's own configuration.
func sshFlags(remote *Remote) []string {
	flags := []string{"-o", "BatchMode=yes", "-o", sshConnect, "-o", sshAlive, "-o", sshDead}
	if remote != nil && remote.Identity != "" {
		flags = append(flags, "-o", "IdentitiesOnly=yes", "-i", remote.Identity)
	}
	if remote != nil && remote.KnownHosts != "" {
		flags = append(flags, "-o", "UserKnownHostsFile="+remote.KnownHosts)
	}
	return flags
}

// byTLS connects by TCP with certificates for both sides.
func byTLS(host, certs string) ([]client.Opt, error) {
	name := host
	if u, err := url.Parse(host); err == nil {
		name = u.Hostname()
	}
	return dockerapi.ByTLS("docker engine at "+host, host, certs,
		fmt.Sprintf("docker_hosts: {%s: {certs: FOLDER}} in agent.yaml, or DOCKER_CERT_PATH for the agent; the folder has ca.pem, cert.pem and key.pem", name))
}
