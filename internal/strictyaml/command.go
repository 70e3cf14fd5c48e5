package strictyaml

// DecodeCommand reads a program and its arguments: a list, or text for /bin/sh -c.
func DecodeCommand(n *Node, path string) ([]string, error) {
	if n.Kind == List {
		var words []string
		if errs := DecodeAt(n, &words, path); len(errs) > 0 {
			return nil, errs
		}
		if len(words) == 0 || words[0] == "" {
			return nil, n.Pos.Errorf("%s must begin with a program", path)
		}
		return words, nil
	}
	var text string
	if errs := DecodeAt(n, &text, path); len(errs) > 0 {
		return nil, errs
	}
	if text == "" {
		return nil, n.Pos.Errorf("%s must not be empty", path)
	}
	return []string{"/bin/sh", "-c", text}, nil
}
