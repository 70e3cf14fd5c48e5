package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/bootandshoot/release/internal/fault"
)

// keyringFiles are where a machine has the keys of Debian's archive, best first: paths below its root, each with a pattern in
// its last element.
var keyringFiles = []string{
	"usr/share/keyrings/debian-archive-keyring.pgp",
	"usr/share/keyrings/debian-archive-keyring.gpg",
	"etc/apt/trusted.gpg.d/debian-archive-*",
}

// MachineKeyring reads the keys of Debian's archive that a machine has; root is its root folder, "/" for this one.
func MachineKeyring(root string) ([]byte, error) {
	for _, pattern := range keyringFiles {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, fault.New(fault.Internal, "look for Debian's keyring: %w", err)
		}
		var keys []byte
		for _, file := range files {
			data, err := readBounded(file, maxKeyring)
			if err != nil {
				return nil, fmt.Errorf("read Debian's keyring: %w", err)
			}
			if data, err = dearmor(data); err != nil {
				return nil, fault.New(fault.Failed, "read Debian's keyring %s: %w", file, err)
			}
			keys = append(keys, data...)
		}
		if len(keys) > 0 {
			return keys, nil
		}
	}
	return nil, fault.New(fault.NotFound, "look for the keys of Debian's archive: this machine has none").
		WithHint("install the package debian-archive-keyring, or give the file with keyring:")
}

// maxKeyring bounds files of keys and of sources.
const maxKeyring = 16 << 20

func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", file, limit)
	}
	return data, err
}

const armorStart = "-----BEGIN PGP"

// dearmor gives keys in binary: all armored blocks one after the other, or the data if there are none.
func dearmor(data []byte) ([]byte, error) {
	if !bytes.Contains(data, []byte(armorStart)) {
		return data, nil
	}
	var out bytes.Buffer
	for at := bytes.Index(data, []byte(armorStart)); at >= 0; {
		data = data[at:]
		end := len(data)
		if at = bytes.Index(data[1:], []byte(armorStart)); at >= 0 {
			at++
			end = at
		}
		block, err := armor.Decode(bytes.NewReader(data[:end]))
		if err != nil {
			return nil, fmt.Errorf("an armored block cannot be read: %w", err)
		}
		if block.Type != openpgp.PublicKeyType {
			return nil, fmt.Errorf("it has a block %q, wanted are public keys", block.Type)
		}
		if _, err := io.Copy(&out, block.Body); err != nil {
			return nil, fmt.Errorf("an armored block cannot be read: %w", err)
		}
	}
	return out.Bytes(), nil
}

// parseKeyring reads keys, binary or armored.
func parseKeyring(data []byte) (openpgp.EntityList, error) {
	binary, err := dearmor(data)
	if err == nil && len(binary) >= 12 && string(binary[8:12]) == "KBXf" {
		err = errors.New("it is a keybox")
	}
	var keys openpgp.EntityList
	if err == nil {
		keys, err = openpgp.ReadKeyRing(bytes.NewReader(binary))
	}
	if err == nil && len(keys) == 0 {
		err = errors.New("there are none in it")
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "read the keys of a keyring: %w", err).
			WithHint("give public keys as gpg --export writes them, with --armor or without")
	}
	return keys, nil
}
