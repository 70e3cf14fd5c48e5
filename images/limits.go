package images

// Limits bound what foreign content may make this package do. The defaults are far above what images hold.
type Limits struct {
	LayerBytes int64 // length of one uncompressed layer; default 64 GiB
	Entries    int   // entries of all layers of an image; default 4 million
	Devices    int   // device nodes of all layers of an image; default 1024
}

func (l Limits) withDefaults() Limits {
	if l.LayerBytes == 0 {
		l.LayerBytes = 64 << 30
	}
	if l.Entries == 0 {
		l.Entries = 4_000_000
	}
	if l.Devices == 0 {
		l.Devices = 1024
	}
	return l
}
