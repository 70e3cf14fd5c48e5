package signature

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/bootandshoot/release/internal/fault"
)

// Envelope is a DSSE envelope: a payload with its type and signatures over both.
type Envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     string              `json:"payload"` // base64
	Signatures  []EnvelopeSignature `json:"signatures"`
}

// EnvelopeSignature is one signature of an envelope.
type EnvelopeSignature struct {
	KeyID string `json:"keyid"` // a hint only
	Sig   string `json:"sig"`   // base64
}

// NewEnvelope signs a payload.
func NewEnvelope(payloadType string, payload []byte, key *PrivateKey) (Envelope, error) {
	e := Envelope{PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload)}
	return e, e.Add(key)
}

// Add adds the key's signature, unless a good one of it is there.
func (e *Envelope) Add(key *PrivateKey) error {
	payload, err := e.Content()
	if err != nil {
		return err
	}
	if len(e.signers(payload, []PublicKey{key.Public})) > 0 {
		return nil
	}
	sig, err := key.sign(preAuth(e.PayloadType, payload))
	if err != nil {
		return err
	}
	e.Signatures = append(e.Signatures, EnvelopeSignature{KeyID: key.Public.ID(), Sig: base64.StdEncoding.EncodeToString(sig)})
	return nil
}

// Encode gives the envelope's bytes.
func (e Envelope) Encode() ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write envelope: %w", err)
	}
	return data, nil
}

// ParseEnvelope reads an envelope. Nothing of it is checked yet.
func ParseEnvelope(data []byte) (Envelope, error) {
	var e Envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return e, fault.New(fault.Invalid, "read envelope: %w", err)
	}
	if e.PayloadType == "" || len(e.Signatures) == 0 {
		return e, fault.New(fault.Invalid, "read envelope: it has no payload type or no signature")
	}
	return e, nil
}

// Content is the payload, unchecked.
func (e Envelope) Content() ([]byte, error) {
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		return nil, fault.New(fault.Invalid, "read envelope: its payload is no base64: %w", err)
	}
	return payload, nil
}

// Verify gives the payload and who of keys signed it; without any the error is fault.Denied.
func (e Envelope) Verify(keys []PublicKey) ([]byte, []PublicKey, error) {
	payload, err := e.Content()
	if err != nil {
		return nil, nil, err
	}
	by := e.signers(payload, keys)
	if len(by) == 0 {
		return nil, nil, fault.New(fault.Denied, "verify envelope: none of its %d signatures is by a key given, or it was changed", len(e.Signatures))
	}
	return payload, by, nil
}

func (e Envelope) signers(payload []byte, keys []PublicKey) []PublicKey {
	message := preAuth(e.PayloadType, payload)
	var by []PublicKey
	for _, k := range keys {
		for _, s := range e.Signatures {
			if sig, err := base64.StdEncoding.DecodeString(s.Sig); err == nil && k.verify(message, sig) {
				by = append(by, k)
				break
			}
		}
	}
	return by
}

// preAuth is the pre-authentication encoding of DSSE: what is signed.
func preAuth(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}
