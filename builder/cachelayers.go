package builder

import "github.com/bootandshoot/release/images"

// layersRecord is the layers that a key made, lowest first.
type layersRecord struct {
	Schema int           `json:"schema"`
	Layers []layerRecord `json:"layers"`
}

type layerRecord struct {
	images.Descriptor
	By string `json:"by"`
}

// Layers finds the layers of a key, unless the store lost one.
func (c *cache) Layers(key string) ([]images.Layer, bool) {
	var r layersRecord
	if !c.load(c.spread("layers", key), &r) || r.Schema != cacheSchema || len(r.Layers) == 0 {
		return nil, false
	}
	var list []images.Layer
	for _, l := range r.Layers {
		if !c.store.Has(l.Digest) {
			return nil, false
		}
		list = append(list, images.Layer{Descriptor: l.Descriptor, DiffID: l.Digest, CreatedBy: l.By})
	}
	return list, true
}

// KeepLayers keeps the layers of a key.
func (c *cache) KeepLayers(key string, layers []images.Layer) error {
	r := layersRecord{Schema: cacheSchema}
	for _, l := range layers {
		r.Layers = append(r.Layers, layerRecord{l.Descriptor, l.CreatedBy})
	}
	return c.save(c.spread("layers", key), r)
}
