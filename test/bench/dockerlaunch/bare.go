package dockerlaunch

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
)

const (
	port   = 8080
	memory = 128 << 20
)

// bare is the program to compare with: only the calls that the work needs, with the addresses chosen beforehand.
type bare struct {
	Options
	engine   *client.Client
	launched int
}

// findWidth tries how many containers at once are the fastest: the least median of three interleaved rounds.
func (b *bare) findWidth(ctx context.Context) error {
	widths := []int{4, 8, 20}
	took := map[int][]float64{}
	for range 3 {
		for _, b.Width = range widths {
			t, err := b.launch(ctx)
			if err != nil {
				return err
			}
			took[b.Width] = append(took[b.Width], t.Seconds())
		}
	}
	b.Width = slices.MinFunc(widths, func(x, y int) int { return cmp.Compare(median(took[x]), median(took[y])) })
	return nil
}

func (b *bare) launch(ctx context.Context) (_ time.Duration, err error) {
	b.launched++
	subnet := fmt.Sprintf("10.77.%d", b.launched) // another each time: see removeNetwork
	name := "bare" + strings.ToLower(rand.Text()[:8])
	ref := b.Registry + "/bare/" + name + "@" + b.Image
	defer func() {
		if e := b.remove(context.WithoutCancel(ctx), name, ref); err == nil {
			err = e
		}
	}()
	start := time.Now()
	if err := b.pull(ctx, ref); err != nil {
		return 0, err
	}
	_, err = b.engine.NetworkCreate(ctx, name, network.CreateOptions{
		Driver: "bridge", IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: subnet + ".0/24", Gateway: subnet + ".1"}}},
	})
	if err != nil {
		return 0, fmt.Errorf("make network: %w", err)
	}
	addresses := make([]string, b.Nodes)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(b.Width)
	for i := range b.Nodes {
		ip := fmt.Sprintf("%s.%d", subnet, i+2)
		addresses[i] = fmt.Sprintf("%s:%d", ip, port)
		group.Go(func() error { return b.run(gctx, fmt.Sprintf("%s-%d", name, i), name, ip, ref) })
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	err = allAnswer(ctx, addresses)
	return time.Since(start), err
}

func (b *bare) pull(ctx context.Context, ref string) error {
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: "bench", Password: b.Token, ServerAddress: b.Registry})
	if err != nil {
		return err
	}
	body, err := b.engine.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: auth})
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	return err
}

func (b *bare) run(ctx context.Context, name, netName, ip, ref string) error {
	yes, pids := true, int64(4096)
	c, err := b.engine.ContainerCreate(ctx,
		&container.Config{Hostname: name, Image: ref, Env: []string{fmt.Sprintf("PORT=%d", port)}, StopSignal: "SIGTERM"},
		&container.HostConfig{
			NetworkMode: container.NetworkMode(netName), Init: &yes, SecurityOpt: []string{"no-new-privileges:true"},
			LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
			Resources: container.Resources{NanoCPUs: 1e9, Memory: memory, MemorySwap: memory, PidsLimit: &pids},
		},
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{netName: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: ip}}}},
		nil, name)
	if err != nil {
		return fmt.Errorf("make container: %w", err)
	}
	return b.engine.ContainerStart(ctx, c.ID, container.StartOptions{})
}

// remove takes away all of a launch; what a launch that failed did not make is passed over.
func (b *bare) remove(ctx context.Context, name, ref string) error {
	var group errgroup.Group
	group.SetLimit(8)
	for i := range b.Nodes {
		group.Go(func() error {
			return absentIsFine(b.engine.ContainerRemove(ctx, fmt.Sprintf("%s-%d", name, i), container.RemoveOptions{Force: true}))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := b.removeNetwork(ctx, name); err != nil {
		return err
	}
	_, err := b.engine.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
	return absentIsFine(err)
}

// removeNetwork tries for a while: the engine lets go of addresses a moment after it removed the containers. Engines of
// the 20.10 line at times never do, until they are restarted; the network is then left behind.
func (b *bare) removeNetwork(ctx context.Context, name string) error {
	for range 40 {
		err := absentIsFine(b.engine.NetworkRemove(ctx, name))
		if !errdefs.IsPermissionDenied(err) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func absentIsFine(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
