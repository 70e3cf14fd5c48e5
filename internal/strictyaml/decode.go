package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/bootandshoot/release/internal/fault"
)

// Unmarshaler is implemented by types that read their node themselves, such as those with two forms. path names the value
// for messages. A *fault.Error or fault.List keeps its own places.
type Unmarshaler interface {
	UnmarshalNode(n *Node, path string) error
}

// Decode fills the struct that v points to and returns all problems, in source order within a mapping. Fields without a
// key in the document keep their value. Whatever was right is decoded, so that checks of meaning can go on.
func Decode(n *Node, v any) fault.List {
	d := &decoder{}
	if n.Kind != Null || len(required(reflect.TypeOf(v).Elem())) > 0 {
		d.value(n, reflect.ValueOf(v).Elem(), "", "")
	}
	return d.errs
}

// DecodeAt is Decode for a value within a document; path names it in messages.
func DecodeAt(n *Node, v any, path string) fault.List {
	d := &decoder{}
	d.value(n, reflect.ValueOf(v).Elem(), path, "")
	return d.errs
}

// Defaults sets the fields that carry a default tag, also in nested structs but not behind pointers: what a pointer
// leads to gets its defaults when the document names it. A tag that does not decode is a defect and panics.
func Defaults(v any) { setDefaults(reflect.ValueOf(v).Elem()) }

func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for _, f := range Fields(v.Type()) {
		field := v.FieldByIndex(f.Index)
		if f.Default == "" {
			setDefaults(field)
			continue
		}
		n, err := Parse("default of "+f.Key, []byte(f.Default))
		if err != nil {
			panic(err)
		}
		d := &decoder{}
		d.value(n, field, f.Key, "")
		if err := d.errs.Err(); err != nil {
			panic(err)
		}
	}
}

type decoder struct{ errs fault.List }

func (d *decoder) fail(pos Pos, format string, args ...any) {
	d.errs = append(d.errs, pos.Errorf(format, args...))
}

// value decodes n into v. path names v for messages; tag holds the bounds.
func (d *decoder) value(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if v.Kind() == reflect.Pointer {
		d.pointer(n, v, path, tag)
		return
	}
	switch u := v.Addr().Interface().(type) {
	case Unmarshaler:
		d.collect(n.Pos, path, u.UnmarshalNode(n, path))
		return
	case encoding.TextUnmarshaler:
		if d.scalar(n, path) {
			d.collect(n.Pos, path, u.UnmarshalText([]byte(n.Text)))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path, tag)
	case reflect.Slice:
		d.list(n, v, path, tag)
	case reflect.String:
		d.text(n, v, path, tag)
	case reflect.Bool:
		if d.want(n, path, Bool) {
			v.SetBool(strings.EqualFold(n.Text, "true"))
		}
	case reflect.Int, reflect.Int64:
		d.integer(n, v, path, tag)
	case reflect.Float64:
		d.float(n, v, path, tag)
	default:
		panic("strictyaml: cannot decode into " + v.Type().String())
	}
}

func (d *decoder) collect(pos Pos, path string, err error) {
	var list fault.List
	var one *fault.Error
	switch {
	case err == nil:
	case errors.As(err, &list):
		d.errs = append(d.errs, list...)
	case errors.As(err, &one):
		d.errs = append(d.errs, one)
	default:
		d.fail(pos, "%s: %w", describe(path), err)
	}
}

func (d *decoder) pointer(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	fresh := reflect.New(v.Type().Elem())
	setDefaults(fresh.Elem())
	d.value(n, fresh.Elem(), path, tag)
	v.Set(fresh)
}

// describe names the value at path; the document itself has the empty path.
func describe(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

func (d *decoder) want(n *Node, path string, kinds ...Kind) bool {
	for _, k := range kinds {
		if n.Kind == k {
			return true
		}
	}
	d.errs = append(d.errs, WrongKind(n, path, kinds[0].String()))
	return false
}

// ErrKind is the cause of all errors of WrongKind. What such a value means need not be checked any more.
var ErrKind = errors.New("a value of another kind")

// WrongKind is the error for a value that is not what is wanted ("a list").
func WrongKind(n *Node, path, want string) *fault.Error {
	err := wrongKind(n, path, want)
	err.Cause = ErrKind
	return err
}

func wrongKind(n *Node, path, want string) *fault.Error {
	switch n.Kind {
	case Null:
		return n.Pos.Errorf("%s must be %s, but is empty", describe(path), want)
	case List, Map:
		return n.Pos.Errorf("%s must be %s, not %s", describe(path), want, n.Kind)
	}
	err := n.Pos.Errorf("%s must be %s, not %s %s", describe(path), want, n.Kind, quoteShort(n))
	if want == Text.String() {
		return err.WithHint("put it in quotes: %q", n.Text)
	}
	return err
}

func quoteShort(n *Node) string {
	text := n.Text
	if r := []rune(text); len(r) > 40 {
		text = string(r[:40]) + "…"
	}
	if n.Kind == Text {
		return strconv.Quote(text)
	}
	return text
}

func (d *decoder) scalar(n *Node, path string) bool {
	switch n.Kind {
	case Text, Int, Float, Bool:
		return true
	}
	d.errs = append(d.errs, WrongKind(n, path, "a single value"))
	return false
}

func (d *decoder) structure(n *Node, v reflect.Value, path string) {
	if !d.want(n, path, Map) {
		return
	}
	setNode(v, n)
	fields := Fields(v.Type())
	for _, e := range n.Entries {
		f := fieldOf(fields, e.Key)
		switch {
		case f == nil:
			d.errs = append(d.errs, UnknownName(e.KeyPos, "key", e.Key, inPath(path), keys(fields)))
		case f.Later:
			d.fail(e.KeyPos, "%s is not supported by this version of release", join(path, e.Key))
		case e.Value.Kind != Null:
			d.value(e.Value, v.FieldByIndex(f.Index), join(path, e.Key), f.Tag)
		}
	}
	for _, f := range fields {
		if f.Required && n.Get(f.Key) == nil {
			d.fail(n.Pos, "%s is missing", join(path, f.Key))
		}
	}
}

func setNode(v reflect.Value, n *Node) {
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Type == reflect.TypeFor[*Node]() && f.IsExported() {
			v.Field(i).Set(reflect.ValueOf(n))
		}
	}
}

func inPath(path string) string {
	if path == "" {
		return ""
	}
	return "in " + path
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *decoder) mapping(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if !d.want(n, path, Map) {
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.Entries))
	for _, e := range n.Entries {
		item := reflect.New(v.Type().Elem()).Elem()
		setDefaults(item)
		d.value(e.Value, item, join(path, e.Key), tag)
		m.SetMapIndex(reflect.ValueOf(e.Key), item)
	}
	v.Set(m)
}

func (d *decoder) list(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if !d.want(n, path, List) {
		return
	}
	items := reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items))
	for i, item := range n.Items {
		setDefaults(items.Index(i))
		d.value(item, items.Index(i), fmt.Sprintf("%s[%d]", path, i), tag)
	}
	v.Set(items)
}
