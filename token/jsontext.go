package token

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// number returns an int64 where the number is whole and float64 otherwise. A
// whole number that int64 cannot hold is refused: rounded, two ids would be one.
func (p *scanner) number() (any, error) {
	text, whole, err := p.numeral()
	if err != nil {
		return nil, err
	}
	if whole {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, p.fail("integer out of range")
		}
		return n, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, p.fail("number out of range")
	}
	const exact = 1 << 53
	if f == math.Trunc(f) && math.Abs(f) < exact {
		return int64(f), nil
	}
	return f, nil
}

// integer reads a number in plain integer form.
func (p *scanner) integer() (int64, error) {
	text, whole, err := p.numeral()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !whole {
		return 0, p.fail("expected an integer")
	}
	return n, nil
}

// numeral reads the text of a number (RFC 8259 §6).
func (p *scanner) numeral() (text string, whole bool, err error) {
	start := p.at
	if p.peek() == '-' {
		p.at++
	}
	leading := p.peek()
	if n := p.digits(); n == 0 || (n > 1 && leading == '0') {
		return "", false, p.fail("not a JSON value")
	}
	whole = true
	if p.peek() == '.' {
		p.at++
		whole = false
		if p.digits() == 0 {
			return "", false, p.fail("number without a fraction")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		whole = false
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if p.digits() == 0 {
			return "", false, p.fail("number without an exponent")
		}
	}
	return p.text[start:p.at], whole, nil
}

func (p *scanner) digits() int {
	start := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at - start
}

// str reads a string.
func (p *scanner) str() (string, error) {
	if err := p.expect('"'); err != nil {
		return "", err
	}
	start, ascii := p.at, true
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			s := p.text[start:p.at]
			if !ascii && !utf8.ValidString(s) {
				return "", p.fail("invalid UTF-8")
			}
			p.at++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.fail("control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
		p.at++
	}
	return "", p.fail("string without an end")
}

// escaped goes on with a string whose first escape stands at p.at.
func (p *scanner) escaped(start int) (string, error) {
	out := []byte(p.text[start:p.at])
	for p.at < len(p.text) {
		switch c := p.text[p.at]; {
		case c == '"':
			if !utf8.Valid(out) {
				return "", p.fail("invalid UTF-8")
			}
			p.at++
			return string(out), nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		case c < 0x20:
			return "", p.fail("control character in a string")
		default:
			out = append(out, c)
			p.at++
		}
	}
	return "", p.fail("string without an end")
}

// escape reads one escape sequence, or the two that are a surrogate pair.
func (p *scanner) escape() (rune, error) {
	p.at++ // the backslash
	c := p.peek()
	p.at++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return p.unicode()
	default:
		return 0, p.fail("unknown escape")
	}
}

func (p *scanner) unicode() (rune, error) {
	r, ok := p.hex4()
	if !ok {
		return 0, p.fail("escape is not four hex digits")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if strings.HasPrefix(p.text[p.at:], `\u`) {
		p.at += 2
		if low, ok := p.hex4(); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, nil
			}
		}
	}
	return 0, p.fail("lone surrogate")
}

func (p *scanner) hex4() (rune, bool) {
	if p.at+4 > len(p.text) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.text[p.at : p.at+4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	p.at += 4
	return r, true
}
