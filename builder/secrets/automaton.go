package secrets

import "slices"

// automaton finds many texts in one pass. Its table has a row for each state and a column for each class of bytes; a cell
// is where the next row begins. States at which a text ends have the highest numbers, so that the loop over the bytes
// has one comparison.
type automaton struct {
	class  [256]uint16
	shift  uint
	table  []uint32 // row<<shift of the next state
	ending uint32   // the first row<<shift at which a text ends
	ends   [][]end  // by (state - first ending state)
}

// end is a text that ends at a state.
type end struct {
	length int
	value  int // which text, as the maker of the automaton numbers them
}

// newAutomaton makes the automaton of texts; fold takes capital and small letters of ASCII for the same.
func newAutomaton(texts [][]byte, fold bool) *automaton {
	a := &automaton{}
	classes := a.classify(texts, fold)
	for 1<<a.shift < classes {
		a.shift++
	}
	b := trie{a: a, next: [][]int32{make([]int32, 1<<a.shift)}, ends: [][]end{nil}}
	for i, text := range texts {
		b.add(text, i)
	}
	b.complete()
	b.order()
	return a
}

// classify gives each byte that some text has a class; all others are class 0.
func (a *automaton) classify(texts [][]byte, fold bool) int {
	n := 1
	for _, text := range texts {
		for _, c := range text {
			if a.class[c] != 0 {
				continue
			}
			a.class[c] = uint16(n)
			if fold && isLetter(c) {
				a.class[c^0x20] = uint16(n)
			}
			n++
		}
	}
	return n
}

// trie is an automaton in the making.
type trie struct {
	a    *automaton
	next [][]int32 // by state and class; 0 is none, since nothing leads back to the root
	ends [][]end
}

func (b *trie) add(text []byte, value int) {
	at := int32(0)
	for _, c := range text {
		k := b.a.class[c]
		if b.next[at][k] == 0 {
			b.next = append(b.next, make([]int32, 1<<b.a.shift))
			b.ends = append(b.ends, nil)
			b.next[at][k] = int32(len(b.next) - 1)
		}
		at = b.next[at][k]
	}
	b.ends[at] = append(b.ends[at], end{len(text), value})
}

// complete fills each row with where the longest suffix that is a beginning of a text leads.
func (b *trie) complete() {
	fail := make([]int32, len(b.next))
	queue := []int32{}
	for _, to := range b.next[0] {
		if to != 0 {
			queue = append(queue, to)
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		b.ends[at] = append(b.ends[at], b.ends[fail[at]]...)
		for k, to := range b.next[at] {
			other := b.next[fail[at]][k]
			if to == 0 {
				b.next[at][k] = other
				continue
			}
			fail[to] = other
			queue = append(queue, to)
		}
	}
}

// order numbers the states so that those at which a text ends come last, and makes the table.
func (b *trie) order() {
	number := make([]uint32, len(b.next))
	n := uint32(0)
	for _, last := range []bool{false, true} {
		if last {
			b.a.ending = n << b.a.shift
		}
		for at := range b.next {
			if (len(b.ends[at]) > 0) == last {
				number[at] = n
				n++
			}
		}
	}
	b.a.table = make([]uint32, len(b.next)<<b.a.shift)
	b.a.ends = make([][]end, len(b.next)-int(b.a.ending>>b.a.shift))
	for at, row := range b.next {
		from := number[at] << b.a.shift
		for k, to := range row {
			b.a.table[from+uint32(k)] = number[to] << b.a.shift
		}
		if from >= b.a.ending {
			b.a.ends[(from-b.a.ending)>>b.a.shift] = slices.Clone(b.ends[at])
		}
	}
}

// start is the state before anything was read. The root is never an end, so it has the lowest number.
func (a *automaton) start() uint32 { return 0 }

// scan goes on from a state over data and calls found for each text, with the index after its last byte; it ends early
// when found says false. It gives the state at the end.
func (a *automaton) scan(state uint32, data []byte, found func(e end, after int) bool) uint32 {
	table, class, ending := a.table, &a.class, a.ending
	for i := 0; i < len(data); i++ {
		state = table[state+uint32(class[data[i]])]
		if state < ending {
			continue
		}
		for _, e := range a.ends[(state-ending)>>a.shift] {
			if !found(e, i+1) {
				return state
			}
		}
	}
	return state
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isAlnum(c byte) bool  { return isLetter(c) || isDigit(c) }
func isWord(c byte) bool   { return isAlnum(c) || c == '_' }
func isHex(c byte) bool    { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
func isBase64(c byte) bool { return isAlnum(c) || c == '+' || c == '/' }
func isURL64(c byte) bool  { return isAlnum(c) || c == '-' || c == '_' }
func isSpace(c byte) bool  { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
