package main

import (
	"github.com/bootandshoot/release/config"
	"github.com/bootandshoot/release/images"
	"github.com/bootandshoot/release/images/signature"
)

// verifySigned checks an image against what a release requires.
func verifySigned(store *images.Store, d images.Digest, require config.Require) error {
	keys, err := requiredKeys(require)
	if err != nil {
		return err
	}
	_, err = signature.Verify(store, d, keys)
	return err
}

// requiredKeys reads the keys that images must be signed by. They are PEM text, so they are called by their ids.
func requiredKeys(require config.Require) ([]signature.PublicKey, error) {
	keys := make([]signature.PublicKey, 0, len(require.SignedBy))
	for _, text := range require.SignedBy {
		k, err := signature.ParsePublic("of require.signed_by", []byte(text))
		if err != nil {
			return nil, err
		}
		k.Name = shortKey(k)
		keys = append(keys, k)
	}
	return keys, nil
}

// shortKey is a key's id for people.
func shortKey(k signature.PublicKey) string { return "key " + k.ID()[:len("sha256:")+12] }
