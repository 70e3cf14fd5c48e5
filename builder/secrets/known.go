package secrets

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// knownPublic are the SHA-256 of keys and values without secrecy: their authors' sources and standards have them, so that
// every system with the program, or its manual, has them too. Of a key it is the hash of its DER.
var knownPublic = [...]string{
	// GnuTLS, lib/crypto-selftests-pk.c: the keys of its self-test, in the library of every Debian.
	"87e288dc7dbc29a24241b596ec8c84f949d9f09f34fc0cf69242481fb2274770",
	"d245e52c341a76645e1b0e56c58dc964cd4f3ecaea64a9c6d6db9897d4948a8a",
	"0294b4406902e33bb02f89eaf4c691328790d7a9cd01b873d68edac994f310a1",
	"60c323abe4854b03743005874156ef6e0343bc9c05c09a2a43335cdda19342b3",
	"995b8d5b08ac126a74f39d812fc8cce270d026093d810f366de923bb0fe47f60",
	"09416ba3e0782523c56225fb168cd58cda7796e938db1b53f79b6abbaed2bbc7",
	"7e38af7715bbb425a6aa8060b7c0af60aeb81d39975c55e83edcb9eae7a5e9f8",
	"458022ddcb5598b39253bc027eb02c4f3dba00e2bdbaef239a35bc91c9bd4f3a",
	"09f1c1a4680df80b9e8e6e587d3a787de7402a919e366426ad807a1c0f8c98c1",
	"2859ff03b44c8f0e4f96604b8cced325ef4d01ca935422b2041d88d8809f8fa1",
	// RFC 5849 and 6749: the examples, in the documentation of many libraries.
	"6c96130f130ab0d6d158397e24d2bcc1c9a5e73ae081f6e983f1c7b545d24a4c",
	"00cf4c781dc37003f7c7dd7d4c9a6ef1e0f4c62d9a291aa8bc398774e3fefd32",
	"9d03b692e941d5ace207a9f8048834439f6de98e5c6c1590c22c4f4577c88a42",
	"e9974c507d2a802143f614c878fcbb622a3800e05e6e0d329fee2c5b6b243329",
	// PyJWT: the token of its README.
	"bf145d9380bbe05bdc1a72525796b224f8a8c93ae0e9e102eafbc255ac1af9e8",
}

// published reports whether a key or value is known to be public.
func published(value []byte) bool {
	sum := sha256.Sum256(value)
	return slices.Contains(knownPublic[:], hex.EncodeToString(sum[:]))
}
