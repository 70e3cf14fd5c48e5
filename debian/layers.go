package debian

import "strings"

// ConfiguredLayer is what the history of an image calls the layer of what packages' scripts made.
const ConfiguredLayer = layerPrefix + "configure packages"

const layerPrefix = "debian: "

// PackageLayer is what the history calls a layer of packages' files; name says which packages.
func PackageLayer(name string) string { return layerPrefix + name }

// IsLayer says that a layer came of the installation of packages: their files, or what their scripts made.
func IsLayer(createdBy string) bool { return strings.HasPrefix(createdBy, layerPrefix) }

// IsPackageLayer says that all files of a layer came unchanged out of packages.
func IsPackageLayer(createdBy string) bool {
	return IsLayer(createdBy) && createdBy != ConfiguredLayer
}
