package iam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Version is the version of the policy language. Older ones know no policy variables, so that
// an escape would be taken for its own letters.
const Version = "2012-10-17"

// Effect of a statement.
type Effect string

// The effects. A Deny beats every Allow.
const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// Document is a policy: what a role, a session or a trust policy says.
type Document struct{ Statements []Statement }

// Statement is one rule. A list of one is written as a text. Actions and NotActions exclude
// each other, and so do Resources and NotResources; a trust policy has no resources.
type Statement struct {
	Sid          string
	Effect       Effect
	Principals   []Principal
	Actions      []string
	NotActions   []string
	Resources    []string
	NotResources []string
	Conditions   []Condition
}

// Principal is a kind of principal (AWS, Federated, Service) and its names.
type Principal struct {
	Kind  string
	Names []string
}

// Condition is one operator on one key; a statement holds where all its conditions do, and a
// condition where one of its values does.
type Condition struct {
	Operator string
	Key      string
	Values   []string
}

// Encode writes the document as compact JSON. Equal documents have equal texts. Conditions of
// one operator must stand together.
func (d Document) Encode() string {
	b := append(make([]byte, 0, 1024), `{"Version":"`+Version+`","Statement":[`...)
	for i := range d.Statements {
		if i > 0 {
			b = append(b, ',')
		}
		b = d.Statements[i].append(b)
	}
	return string(append(b, "]}"...))
}

// Indent writes the document for a person.
func (d Document) Indent() string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(d.Encode()), "", "  "); err != nil {
		return d.Encode() // Encode writes JSON: this is not reached
	}
	return b.String()
}

// Size is the number of characters of a text, as AWS counts them.
func Size(text string) int { return utf8.RuneCountInString(text) }

// Size is the number of characters that the statement takes in a document.
func (s *Statement) Size() int { return Size(string(s.append(nil))) }

func (s *Statement) append(b []byte) []byte {
	b = append(b, '{')
	if s.Sid != "" {
		b = append(quote(append(b, `"Sid":`...), s.Sid), ',')
	}
	b = quote(append(b, `"Effect":`...), string(s.Effect))
	if len(s.Principals) > 0 {
		b = append(b, `,"Principal":{`...)
		for i, p := range s.Principals {
			if i > 0 {
				b = append(b, ',')
			}
			b = list(append(quote(b, p.Kind), ':'), p.Names)
		}
		b = append(b, '}')
	}
	for _, member := range []struct {
		name   string
		values []string
	}{{"Action", s.Actions}, {"NotAction", s.NotActions}, {"Resource", s.Resources}, {"NotResource", s.NotResources}} {
		if len(member.values) > 0 {
			b = list(append(b, `,"`+member.name+`":`...), member.values)
		}
	}
	if len(s.Conditions) > 0 {
		b = conditions(append(b, `,"Condition":{`...), s.Conditions)
	}
	return append(b, '}')
}

func conditions(b []byte, all []Condition) []byte {
	for i, c := range all {
		switch {
		case i == 0:
			b = append(quote(b, c.Operator), `:{`...)
		case all[i-1].Operator == c.Operator:
			b = append(b, ',')
		default:
			b = append(quote(append(b, `},`...), c.Operator), `:{`...)
		}
		b = list(append(quote(b, c.Key), ':'), c.Values)
	}
	return append(b, `}}`...)
}

// list writes a text, or an array of several.
func list(b []byte, values []string) []byte {
	if len(values) == 1 {
		return quote(b, values[0])
	}
	b = append(b, '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = quote(b, v)
	}
	return append(b, ']')
}

const lowerHex = "0123456789abcdef"

// quote writes a JSON string, and escapes only what must be.
func quote(b []byte, text string) []byte {
	b = append(b, '"')
	for _, r := range text { // what is no UTF-8 comes as U+FFFD, which no session policy may hold
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', lowerHex[r>>4], lowerHex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// CheckCharacters returns an error that names the first character which STS takes in no
// session policy: outside U+0020 to U+00FF. Tab and line ends, which it takes between words,
// can stand in no name.
func CheckCharacters(text string) error {
	for i, r := range text {
		if r < ' ' || r > 0xFF {
			if r == utf8.RuneError && !utf8.ValidString(text) {
				return fmt.Errorf("byte 0x%02X is no UTF-8", text[i])
			}
			return fmt.Errorf("the character %U", r)
		}
	}
	return nil
}
