package strictyaml

import (
	"reflect"
	"slices"
	"strings"
)

// Field is a key of a struct.
type Field struct {
	Key      string
	Index    []int // for reflect.Value.FieldByIndex
	Type     reflect.Type
	Tag      reflect.StructTag
	Default  string // YAML; "" is none
	Required bool
	Later    bool
}

// Fields lists the keys of a struct type in the order of its fields, those of embedded structs in their place.
func Fields(t reflect.Type) []Field {
	var fields []Field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			for _, inner := range Fields(f.Type) {
				inner.Index = append([]int{i}, inner.Index...)
				fields = append(fields, inner)
			}
			continue
		}
		if !f.IsExported() || name == "" || name == "-" {
			continue
		}
		flags := strings.Split(options, ",")
		fields = append(fields, Field{
			Key: name, Index: []int{i}, Type: f.Type, Tag: f.Tag, Default: f.Tag.Get("default"),
			Required: slices.Contains(flags, "required"), Later: slices.Contains(flags, "later"),
		})
	}
	return fields
}

func fieldOf(fields []Field, key string) *Field {
	for i := range fields {
		if fields[i].Key == key {
			return &fields[i]
		}
	}
	return nil
}

// keys lists what may be written.
func keys(fields []Field) []string {
	var names []string
	for _, f := range fields {
		if !f.Later {
			names = append(names, f.Key)
		}
	}
	return names
}

func required(t reflect.Type) []string {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for _, f := range Fields(t) {
		if f.Required {
			names = append(names, f.Key)
		}
	}
	return names
}
