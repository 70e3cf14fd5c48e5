package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/bootandshoot/release/images"
)

// formatVersion is part of every key. It rises when the same inputs make other layers than before.
const formatVersion = 2

// keyOf hashes inputs. Values are framed by their JSON, so no two lists of inputs run together; maps have sorted keys.
func keyOf(parts ...any) string {
	data, err := json.Marshal(append([]any{formatVersion}, parts...))
	if err != nil {
		// Only plain structs and texts get here.
		panic(fmt.Sprintf("builder: encode key: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// hashOf is the digest of all that r gives.
func hashOf(r io.Reader) (images.Digest, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	return images.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))), nil
}
