package secrets

import (
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// TestRandomFindsRandom counts how many values made by chance are taken for such.
func TestRandomFindsRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	draw := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	pick := func(n int, from string) string {
		b := draw(n)
		for i := range b {
			b[i] = from[int(b[i])%len(from)]
		}
		return string(b)
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for name, c := range map[string]struct {
		make  func() string
		share float64
	}{
		"hex 20":       {func() string { return hex.EncodeToString(draw(10)) }, 0.9},
		"hex 32":       {func() string { return hex.EncodeToString(draw(16)) }, 0.97},
		"hex 64":       {func() string { return hex.EncodeToString(draw(32)) }, 0.99},
		"base64 24":    {func() string { return base64.StdEncoding.EncodeToString(draw(16)) }, 0.97},
		"base64 44":    {func() string { return base64.StdEncoding.EncodeToString(draw(32)) }, 0.98},
		"url64 32":     {func() string { return base64.RawURLEncoding.EncodeToString(draw(24)) }, 0.97},
		"base62 16":    {func() string { return pick(16, letters+"0123456789") }, 0.9},
		"base62 32":    {func() string { return pick(32, letters+"0123456789") }, 0.97},
		"base36 24":    {func() string { return pick(24, letters[:26]+"0123456789") }, 0.9},
		"letters 32":   {func() string { return pick(32, letters) }, 0.7},
		"password 14":  {func() string { return pick(14, letters+"0123456789!#%&*+-=?@^_") }, 0.75},
		"password 20":  {func() string { return pick(20, letters+"0123456789!#%&*+-=?@^_") }, 0.9},
		"django 50":    {func() string { return pick(50, letters[:26]+"0123456789!@#$%^&*(-_=+)") }, 0.6},
		"capitals b32": {func() string { return pick(32, letters[26:]+"234567") }, 0.75},
	} {
		const tries = 4000
		found := 0
		for range tries {
			if random([]byte(c.make())) {
				found++
			}
		}
		if share := float64(found) / tries; share < c.share {
			t.Errorf("%s: %.3f are taken for random, want %.2f", name, share, c.share)
		} else {
			t.Logf("%s: %.3f", name, share)
		}
	}
}

func TestRandomLeavesNamesAlone(t *testing.T) {
	for _, value := range []string{
		"", "password", "correct horse battery staple", "changeme123456789", "getTokenFromRequest2", "V1SecretVolumeSource",
		"org.freedesktop.secrets.Service1", "/run/secrets/db_password_v2", "my-secret-name-2", "x86_64-linux-gnu-gcc-12",
		"AES256-SHA256-GCM-128", "RSA-SHA256-2048-PKCS1", "kubernetes.io/service-account-token", "client_credentials_v2",
		"00000000000000000000000000000000", "ffffffffffffffffffffffff", "aaaaaaaaaaaaaaaa1", "2024-01-02T03:04:05Z",
		"00000000-0000-0000-0000-000000000000", "1234567890123456", "TokenStreamRewriter", "http_proxy_password_1",
		"application/x-www-form-urlencoded", "EXAMPLEKEYbPxRfiCYEXAMPLEKEY", "libsecret-1.so.0.20.5", "MultiFernetTokenTest1",
		"xxxxxxxxxxxxxxxxxxxx1", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz0123456789",
	} {
		if random([]byte(value)) {
			t.Errorf("%q is taken for random", value)
		}
	}
}
