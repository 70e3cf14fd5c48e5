package strictyaml

import (
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

func (d *decoder) text(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if !d.want(n, path, Text) {
		return
	}
	if strings.ContainsRune(n.Text, 0) {
		d.fail(n.Pos, "%s must not contain a zero byte", path)
		return
	}
	if choices := tag.Get("enum"); choices != "" {
		if valid := strings.Split(choices, ","); !slices.Contains(valid, n.Text) {
			d.errs = append(d.errs, UnknownName(n.Pos, "value", n.Text, "for "+path, valid))
			return
		}
	}
	v.SetString(n.Text)
}

func (d *decoder) integer(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != Int {
		d.errs = append(d.errs, WrongKind(n, path, "a whole number"))
		return
	}
	i, err := strconv.ParseInt(n.Text, 10, 64)
	digits := strings.TrimLeft(n.Text, "+-")
	if err != nil || len(digits) > 1 && digits[0] == '0' || v.OverflowInt(i) {
		d.fail(n.Pos, "%s must be a whole number in decimal digits, not %s", path, quoteShort(n))
		return
	}
	if d.within(n, float64(i), path, tag) {
		v.SetInt(i)
	}
}

func (d *decoder) float(n *Node, v reflect.Value, path string, tag reflect.StructTag) {
	if !d.want(n, path, Float, Int) {
		return
	}
	f, err := strconv.ParseFloat(n.Text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || strings.ContainsAny(n.Text, "xX_") {
		d.fail(n.Pos, "%s must be a plain number, not %s", path, quoteShort(n))
		return
	}
	if d.within(n, f, path, tag) {
		v.SetFloat(f)
	}
}

// within checks the bounds of the tag.
func (d *decoder) within(n *Node, f float64, path string, tag reflect.StructTag) bool {
	if bound, err := strconv.ParseFloat(tag.Get("minimum"), 64); err == nil && f < bound {
		d.fail(n.Pos, "%s must be at least %s, not %s", path, tag.Get("minimum"), n.Text)
		return false
	}
	if bound, err := strconv.ParseFloat(tag.Get("maximum"), 64); err == nil && f > bound {
		d.fail(n.Pos, "%s must be at most %s, not %s", path, tag.Get("maximum"), n.Text)
		return false
	}
	return true
}
