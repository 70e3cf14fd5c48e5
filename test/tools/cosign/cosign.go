// Package cosign names the real cosign, which a test builds to check what it makes of our signatures.
package cosign

import _ "github.com/sigstore/cosign/v2/cmd/cosign/cli" // what is built is the command above it
