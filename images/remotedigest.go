package images

import (
	"context"
	"fmt"
)

// RemoteDigest asks a registry for the digest of an image's manifest for a platform ("os/arch[/variant]", "" is this
// machine's) and brings nothing. Of a reference to several platforms it is the manifest of the one.
func (s *Store) RemoteDigest(ctx context.Context, reference, platform string) (Digest, error) {
	p, err := parsePlatform(platform)
	if err != nil {
		return "", err
	}
	f, err := s.openRemote(ctx, reference, p)
	if err != nil {
		return "", fmt.Errorf("look up %s: %w", reference, err)
	}
	return f.digest, nil
}
