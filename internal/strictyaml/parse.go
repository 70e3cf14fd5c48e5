package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/bootandshoot/release/internal/fault"
	"github.com/bootandshoot/release/internal/plainfile"
)

// Bounds of a document. They are far above any real file and keep a hostile one cheap: the parser takes time that grows
// with the square of a mapping's keys and of the empty lines in a block of text.
const (
	MaxSize   = 256 << 10 // bytes
	MaxLong   = 4 << 20   // bytes, for ReadLong
	MaxTokens = 30_000
	MaxDepth  = 64
	MaxBlank  = 200 // empty lines in a row
)

// Read parses a file as Parse does. A file that is not there is fault.NotFound; one that is no regular file is not read.
func Read(path string) (*Node, error) { return read(path, MaxSize) }

// ReadLong is Read for files that programs write, which are longer than what people do; they have as many parts at most.
func ReadLong(path string) (*Node, error) { return read(path, MaxLong) }

func read(path string, most int) (*Node, error) {
	data, err := plainfile.Read(path, int64(most))
	if errors.Is(err, plainfile.ErrTooLarge) {
		return nil, Pos{File: path, Line: 1, Column: 1}.Errorf("the file is larger than %d bytes", most)
	}
	if err != nil {
		return nil, err
	}
	return parse(path, data, most)
}

// Parse makes a tree of one YAML document; name is the file's for positions. An empty document is a Null node. Errors
// are of class fault.Invalid. With errors that leave a tree to look at, such as repeated keys, both are returned.
func Parse(name string, data []byte) (root *Node, err error) { return parse(name, data, MaxSize) }

func parse(name string, data []byte, most int) (root *Node, err error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	start := Pos{File: name, Line: 1, Column: 1}
	if len(data) > most {
		return nil, start.Errorf("the file is larger than %d bytes", most)
	}
	if !utf8.Valid(data) {
		return nil, invalidByte(start, data)
	}
	if err := checkLines(start, data); err != nil {
		return nil, err
	}
	// The parser is foreign code that walks foreign bytes: whatever it may still trip over is an error in the file.
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, start.Errorf("the file cannot be read as YAML (%v)", r)
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if err := checkTokens(name, tokens); err != nil {
		return nil, err
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxError(start, err)
	}
	return convertFile(start, file)
}

func invalidByte(start Pos, data []byte) error {
	pos := start
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && n == 1:
			return pos.Errorf("byte 0x%02x is not UTF-8 text", data[0])
		case r == '\n':
			pos.Line, pos.Column = pos.Line+1, 1
		default:
			pos.Column++
		}
		data = data[n:]
	}
	return pos.Errorf("the file is not UTF-8 text")
}

// checkLines refuses long runs of empty lines, also those of the carriage returns that old systems ended lines with.
func checkLines(pos Pos, data []byte) error {
	run := 0
	for text := range bytes.Lines(data) {
		if i := bytes.IndexByte(text, '\r'); i >= 0 && i != len(text)-2 {
			pos.Column = utf8.RuneCount(text[:i]) + 1
			return pos.Errorf("a carriage return must be followed by the end of the line")
		}
		if len(bytes.TrimSpace(text)) > 0 {
			run = 0
		} else if run++; run > MaxBlank {
			return pos.Errorf("more than %d empty lines in a row", MaxBlank)
		}
		pos.Line++
	}
	return nil
}

func syntaxError(start Pos, err error) error {
	var s *yaml.SyntaxError
	if errors.As(err, &s) && s.Token != nil {
		return tokenPos(start.File, s.Token).Errorf("%s", s.Message)
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return start.Errorf("the file cannot be read as YAML (%s)", text)
}

func tokenPos(file string, t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{File: file, Line: 1, Column: 1}
	}
	return Pos{File: file, Line: max(t.Position.Line, 1), Column: max(t.Position.Column, 1)}
}

// checkTokens refuses what must not reach the parser: features that are not taken, and nesting that would exhaust the
// stack, since the parser recurses without a bound.
func checkTokens(name string, tokens token.Tokens) error {
	if len(tokens) > MaxTokens {
		return tokenPos(name, tokens[MaxTokens]).Errorf("the file has more than %d parts", MaxTokens)
	}
	flow, run, line := 0, 0, 0
	for _, t := range tokens {
		pos := tokenPos(name, t)
		if what := refused(t.Type); what != "" {
			return pos.Errorf("%s are not supported here", what)
		}
		if pos.Line != line {
			line, run = pos.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(flow-1, 0)
		case token.SequenceEntryType, token.MappingKeyType:
			run++
		}
		if flow > MaxDepth || run > MaxDepth {
			return pos.Errorf("nested deeper than %d levels", MaxDepth)
		}
	}
	return nil
}

func refused(t token.Type) string {
	switch t {
	case token.AnchorType, token.AliasType:
		return "anchors and aliases"
	case token.MergeKeyType:
		return "merge keys"
	case token.TagType:
		return "tags"
	case token.DirectiveType:
		return "directives"
	}
	return ""
}

func convertFile(start Pos, file *ast.File) (*Node, error) {
	c := converter{file: start.File}
	var root *Node
	for _, doc := range file.Docs {
		n := c.node(doc.Body, 0)
		if root != nil && (n.Kind != Null || doc.Start != nil) {
			pos := n.Pos
			if doc.Start != nil {
				pos = tokenPos(start.File, doc.Start)
			}
			c.errs = append(c.errs, pos.Errorf("a second document begins here; a file holds one"))
			break
		}
		root = n
	}
	if root == nil {
		root = &Node{}
	}
	if root.Kind == Null {
		root.Pos = start
	}
	return root, c.errs.Err()
}

type converter struct {
	file string
	errs fault.List
}

func (c *converter) node(n ast.Node, depth int) *Node {
	if n == nil || n.GetToken() == nil {
		return &Node{Pos: Pos{File: c.file, Line: 1, Column: 1}}
	}
	pos := tokenPos(c.file, n.GetToken())
	if depth > MaxDepth {
		c.errs = append(c.errs, pos.Errorf("nested deeper than %d levels", MaxDepth))
		return &Node{Pos: pos}
	}
	text := n.GetToken().Value
	switch n := n.(type) {
	case *ast.NullNode, *ast.CommentGroupNode:
		return &Node{Pos: pos}
	case *ast.StringNode:
		return &Node{Pos: pos, Kind: Text, Text: n.Value}
	case *ast.LiteralNode:
		return &Node{Pos: pos, Kind: Text, Text: n.Value.Value}
	case *ast.IntegerNode:
		return &Node{Pos: pos, Kind: Int, Text: text}
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return &Node{Pos: pos, Kind: Float, Text: text}
	case *ast.BoolNode:
		return &Node{Pos: pos, Kind: Bool, Text: text}
	case *ast.SequenceNode:
		return c.list(pos, n, depth)
	case *ast.MappingNode:
		return c.mapping(pos, n.Values, n.IsFlowStyle, depth)
	case *ast.MappingValueNode:
		return c.mapping(pos, []*ast.MappingValueNode{n}, n.IsFlowStyle, depth)
	}
	c.errs = append(c.errs, pos.Errorf("%s is not supported here", strings.ToLower(fmt.Sprint(n.Type()))))
	return &Node{Pos: pos}
}

func (c *converter) list(pos Pos, n *ast.SequenceNode, depth int) *Node {
	list := &Node{Pos: pos, Kind: List, Flow: n.IsFlowStyle}
	for _, v := range n.Values {
		list.Items = append(list.Items, c.node(v, depth+1))
	}
	return list
}

func (c *converter) mapping(pos Pos, values []*ast.MappingValueNode, flow bool, depth int) *Node {
	m := &Node{Pos: pos, Kind: Map, Flow: flow}
	seen := make(map[string]Pos, len(values))
	for _, v := range values {
		key := c.key(v.Key)
		first, repeated := seen[key.Text]
		switch {
		case key.Kind == Null:
			continue
		case repeated:
			c.errs = append(c.errs, key.Pos.Errorf("key %q is given twice, first in line %d", key.Text, first.Line))
			continue
		}
		seen[key.Text] = key.Pos
		value := c.node(v.Value, depth+1)
		if value.Kind == Null && (v.Value == nil || v.Value.GetToken().Type == token.ImplicitNullType) {
			value.Pos = key.Pos // nothing is written: the key is what a person looks for
		}
		m.Entries = append(m.Entries, Entry{Key: key.Text, KeyPos: key.Pos, Value: value})
	}
	if !flow && len(m.Entries) > 0 {
		m.Pos = m.Entries[0].KeyPos // the parser places a block mapping at its first colon
	}
	return m
}

// key is the node of a mapping's key, Null when it is none that can be used.
func (c *converter) key(n ast.MapKeyNode) *Node {
	var node ast.Node = n
	if k, ok := n.(*ast.MappingKeyNode); ok {
		node = k.Value
	}
	key := c.node(node, MaxDepth)
	switch key.Kind {
	case List, Map, Null:
		c.errs = append(c.errs, key.Pos.Errorf("a key must be text"))
		return &Node{Pos: key.Pos}
	}
	return key
}
