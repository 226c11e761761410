package token

import (
	"fmt"
	"strings"
)

// MaxDepth is how deep the JSON of a token may nest; its top object is 1.
const MaxDepth = 32

// scanner reads one JSON text (RFC 8259) strictly: no duplicate members, no lone
// surrogates, no invalid UTF-8, nothing after the value. encoding/json repairs or
// ignores all of these, so that two readers of one token may see two tokens.
//
// Strings without escapes are returned as parts of the text: they cost nothing,
// and keep the text alive.
type scanner struct {
	text string
	at   int
}

func (p *scanner) fail(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrMalformed, what, p.at)
}

func (p *scanner) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end. A 0 in the text fits no rule either.
func (p *scanner) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *scanner) expect(c byte) error {
	if p.peek() != c {
		return p.fail("expected '" + string(rune(c)) + "'")
	}
	p.at++
	return nil
}

// document reads a whole text that is one object.
func (p *scanner) document(member func(name string) error) error {
	p.space()
	if err := p.object(1, member); err != nil {
		return err
	}
	p.space()
	if p.at != len(p.text) {
		return p.fail("text after the object")
	}
	return nil
}

// object reads an object and calls member with the scanner at each value, which
// member must consume.
func (p *scanner) object(depth int, member func(name string) error) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: JSON nests deeper than %d", ErrTooLarge, MaxDepth)
	}
	if err := p.expect('{'); err != nil {
		return err
	}
	p.space()
	if p.peek() == '}' {
		p.at++
		return nil
	}
	var seen nameSet
	for {
		name, err := p.str()
		if err != nil {
			return err
		}
		if !seen.add(name) {
			return fmt.Errorf("%w: %w at byte %d", ErrMalformed, ErrDuplicateMember, p.at)
		}
		p.space()
		if err := p.expect(':'); err != nil {
			return err
		}
		p.space()
		if err := member(name); err != nil {
			return err
		}
		if more, err := p.more('}'); !more || err != nil {
			return err
		}
	}
}

// array reads an array and calls element with the scanner at each value.
func (p *scanner) array(depth int, element func() error) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: JSON nests deeper than %d", ErrTooLarge, MaxDepth)
	}
	if err := p.expect('['); err != nil {
		return err
	}
	p.space()
	if p.peek() == ']' {
		p.at++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if more, err := p.more(']'); !more || err != nil {
			return err
		}
	}
}

// more reads what follows a member or element: a comma, or the end.
func (p *scanner) more(end byte) (bool, error) {
	p.space()
	switch p.peek() {
	case ',':
		p.at++
		p.space()
		return true, nil
	case end:
		p.at++
		return false, nil
	default:
		return false, p.fail("expected ',' or '" + string(rune(end)) + "'")
	}
}

// value reads any value, which stands at this depth.
func (p *scanner) value(depth int) (any, error) {
	switch p.peek() {
	case '{':
		object := map[string]any{}
		err := p.object(depth, func(name string) error {
			v, err := p.value(depth + 1)
			object[name] = v
			return err
		})
		return object, err
	case '[':
		array := []any{}
		err := p.array(depth, func() error {
			v, err := p.value(depth + 1)
			array = append(array, v)
			return err
		})
		return array, err
	case '"':
		return p.str()
	case 't':
		return true, p.literal("true")
	case 'f':
		return false, p.literal("false")
	case 'n':
		return nil, p.literal("null")
	default:
		return p.number()
	}
}

// skip reads any value and forgets it, with all checks.
func (p *scanner) skip(depth int) error {
	switch p.peek() {
	case '{':
		return p.object(depth, func(string) error { return p.skip(depth + 1) })
	case '[':
		return p.array(depth, func() error { return p.skip(depth + 1) })
	default:
		_, err := p.value(depth)
		return err
	}
}

func (p *scanner) literal(word string) error {
	if !strings.HasPrefix(p.text[p.at:], word) {
		return p.fail("not a JSON value")
	}
	p.at += len(word)
	return nil
}

// nameSet holds the member names of one object. Comparing a few names beats
// hashing them; a large object moves to a map, so that it is not quadratic.
type nameSet struct {
	few  [24]string
	n    int
	many map[string]struct{}
}

// add reports false if the name is there already.
func (s *nameSet) add(name string) bool {
	if s.many != nil {
		before := len(s.many)
		s.many[name] = struct{}{}
		return len(s.many) > before
	}
	for i := range s.n {
		if s.few[i] == name {
			return false
		}
	}
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	s.many = make(map[string]struct{}, 2*len(s.few))
	for _, seen := range s.few {
		s.many[seen] = struct{}{}
	}
	s.many[name] = struct{}{}
	return true
}
