// Package strictyaml decodes YAML into Go structs and reports every problem it finds with file:line:column, so that a
// person corrects a file in one go.
//
// Parse makes a tree of nodes that know their places; Decode fills structs from it; Locate gives the place of a value
// afterwards, for checks of meaning. Merge lays one tree over another.
//
// # Struct tags
//
//	yaml:"key"            the key of the field; "-" is no key. An embedded struct without a tag gives its keys to the outer one
//	yaml:"key,required"   a mapping without the key is an error
//	yaml:"key,later"      the key is known but not built yet: its use is a clear error, and it is in no list of valid keys
//	default:"…"           YAML that is decoded first; see Defaults
//	minimum:"1" maximum:"9" enum:"a,b"   bounds of numbers and choices of text
//
// A field of type *Node with the tag "-" gets the node that its struct was decoded from. Types may decode themselves by
// Unmarshaler, or from the text of any single value by encoding.TextUnmarshaler. A key whose value is empty counts as absent.
//
// # What is refused
//
// One document, UTF-8, up to MaxSize bytes, MaxTokens tokens, MaxDepth levels and MaxBlank empty lines in a row. Anchors, aliases, merge keys, tags and
// directives are errors: configuration composes by includes and overlays, and without them no small file becomes a
// large tree. Text is never made of a number: `version: 1.10` for a text is an error, not "1.1".
package strictyaml
