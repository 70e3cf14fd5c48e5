package orchestrator

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/bootandshoot/release/store"
)

// stickySecretKey is where the installation's secret lies that the keys of all sticky cookies are made of.
const stickySecretKey = "meta/sticky"

// stickySecret is in the store and, as keys made of it, in tables; it is in no status, log or event.
type stickySecret struct {
	Schema int    `json:"schema"`
	Secret []byte `json:"secret"` // 32 bytes
}

// loadStickySecret reads the secret, and mints it in a store that has none. Cookies that were signed with another one,
// such as that of a store that was lost, are no longer good: their clients are split anew.
func loadStickySecret(ctx context.Context, s store.Store, random io.Reader) ([]byte, error) {
	e, err := s.Get(ctx, stickySecretKey)
	if errors.Is(err, store.ErrNotFound) {
		fresh := stickySecret{Schema: schema, Secret: make([]byte, sha256.Size)}
		if _, err := io.ReadFull(random, fresh.Secret); err != nil {
			return nil, fmt.Errorf("mint the key of sticky cookies: %w", err)
		}
		value, err := json.Marshal(fresh)
		if err == nil {
			_, err = s.Commit(ctx, store.Write{Key: stickySecretKey, Value: value})
		}
		if err != nil {
			return nil, fmt.Errorf("mint the key of sticky cookies: %w", err)
		}
		return fresh.Secret, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of sticky cookies: %w", err)
	}
	var known stickySecret
	if err := json.Unmarshal(e.Value, &known); err != nil || len(known.Secret) != sha256.Size {
		return nil, errors.New("read the key of sticky cookies: " + stickySecretKey + " in the store is damaged")
	}
	return known.Secret, nil
}

// stickyKey signs the cookies of one app's route, in hex. Another app's cannot be made with it.
func stickyKey(secret []byte, key Key) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("sticky " + routeName(key, Role)))
	return hex.EncodeToString(mac.Sum(nil))
}
