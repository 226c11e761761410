package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	redacted   = "[redacted]"
	maxDepth   = 8 // of an attribute's value
	timeFormat = "2006-01-02T15:04:05.000000Z07:00"
)

// encoder appends events as JSON, without reflection: every record of every
// request passes here. The zero value is ready; it is reused, not shared.
type encoder struct {
	buf  []byte
	keys []string // stack of the keys of the maps being encoded
	err  error
}

// event encodes what follows a line's head: `"time":…}` and a newline.
func (e *encoder) event(v *Event) error {
	e.err, e.keys = nil, e.keys[:0]
	e.buf = append(e.buf[:0], `"time":"`...)
	e.buf = v.Time.UTC().AppendFormat(e.buf, timeFormat)
	e.buf = append(e.buf, '"')
	e.str("kind", string(v.Kind))
	e.str("outcome", string(v.Outcome))
	e.str("error", v.Error)
	e.str("decision", v.DecisionID)
	e.str("jti", v.TokenID)
	e.str("sub", v.Subject)
	e.str("source", v.Source)
	e.list("act", v.Actors)
	e.str("client_id", v.ClientID)
	e.list("scope", v.Scopes)
	e.list("refused", v.Refused)
	e.list("aud", v.Audience)
	e.str("task", v.Task)
	e.str("pol", v.PolicyVersion)
	e.stringMap("tags", v.Tags)
	if len(v.Attributes) > 0 {
		e.name("attributes")
		e.object(v.Attributes, 1)
	}
	e.trace(v.Trace)
	e.str("ip", v.RemoteIP)
	e.stringMap("detail", v.Detail)
	if !v.Expires.IsZero() {
		e.name("exp")
		e.buf = append(e.buf, '"')
		e.buf = v.Expires.UTC().AppendFormat(e.buf, timeFormat)
		e.buf = append(e.buf, '"')
	}
	e.buf = append(e.buf, '}', '\n')
	if e.err == nil && len(e.buf)+lineHead > MaxRecord {
		e.err = fmt.Errorf("%w: %d bytes", ErrTooLarge, len(e.buf))
	}
	return e.err
}

func (e *encoder) name(name string) {
	e.buf = append(e.buf, ',', '"')
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '"', ':')
}

func (e *encoder) str(name, value string) {
	if value != "" {
		e.name(name)
		e.buf = appendString(e.buf, value)
	}
}

func (e *encoder) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	e.name(name)
	e.strings(values)
}

func (e *encoder) strings(values []string) {
	e.buf = append(e.buf, '[')
	for i, v := range values {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.buf = appendString(e.buf, v)
	}
	e.buf = append(e.buf, ']')
}

func (e *encoder) stringMap(name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	e.name(name)
	e.buf = append(e.buf, '{')
	for i, k := range push(e, m) {
		e.key(i, k)
		e.buf = appendString(e.buf, m[k])
	}
	e.pop(len(m))
	e.buf = append(e.buf, '}')
}

func (e *encoder) key(i int, k string) {
	if i > 0 {
		e.buf = append(e.buf, ',')
	}
	e.buf = append(appendString(e.buf, k), ':')
}

// push puts the keys of a map, in order, on the stack of keys; nested objects
// push theirs on top.
func push[V any](e *encoder, m map[string]V) []string {
	start := len(e.keys)
	for k := range m {
		e.keys = append(e.keys, k)
	}
	keys := e.keys[start:]
	slices.Sort(keys)
	return keys
}

func (e *encoder) pop(n int) { e.keys = e.keys[:len(e.keys)-n] }

func (e *encoder) object(m map[string]any, depth int) {
	e.buf = append(e.buf, '{')
	for i, k := range push(e, m) {
		e.key(i, k)
		e.value(m[k], depth+1)
	}
	e.pop(len(m))
	e.buf = append(e.buf, '}')
}

func (e *encoder) value(v any, depth int) {
	switch v := v.(type) {
	case nil:
		e.buf = append(e.buf, "null"...)
	case string:
		e.buf = appendString(e.buf, v)
	case bool:
		e.buf = strconv.AppendBool(e.buf, v)
	case int:
		e.buf = strconv.AppendInt(e.buf, int64(v), 10)
	case int64:
		e.buf = strconv.AppendInt(e.buf, v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			e.fail("a number that JSON cannot say")
			return
		}
		e.buf = strconv.AppendFloat(e.buf, v, 'g', -1, 64)
	case []string:
		e.strings(v)
	case []any:
		e.array(v, depth)
	case map[string]any:
		if depth > maxDepth {
			e.fail("attributes nested too deeply")
			return
		}
		e.object(v, depth)
	default:
		e.other(v)
	}
}

func (e *encoder) array(values []any, depth int) {
	if depth > maxDepth {
		e.fail("attributes nested too deeply")
		return
	}
	e.buf = append(e.buf, '[')
	for i, v := range values {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.value(v, depth+1)
	}
	e.buf = append(e.buf, ']')
}

// other encodes a type that no claim has; through JSON it becomes one that has.
func (e *encoder) other(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		e.fail(err.Error())
		return
	}
	e.raw(data)
}

// appender is a json.Marshaler that needs no buffer of its own, as *policy.Trace is. What it
// appends is on one line.
type appender interface{ AppendJSON(dst []byte) []byte }

func (e *encoder) trace(t json.Marshaler) {
	if t == nil {
		return
	}
	if t, ok := t.(appender); ok {
		e.name("trace")
		start := len(e.buf)
		e.buf = t.AppendJSON(e.buf)
		if textHoldsSecret(e.buf[start:]) {
			e.buf = appendString(e.buf[:start], redacted)
		}
		return
	}
	data, err := t.MarshalJSON()
	if err != nil {
		e.fail("trace: " + err.Error())
		return
	}
	e.name("trace")
	e.raw(data)
}

// raw appends JSON that another package made: on one line, and without secrets.
func (e *encoder) raw(data []byte) {
	if textHoldsSecret(data) {
		e.buf = appendString(e.buf, redacted)
		return
	}
	if bytes.IndexByte(data, '\n') < 0 {
		e.buf = append(e.buf, data...)
		return
	}
	out := bytes.NewBuffer(e.buf)
	if err := json.Compact(out, data); err != nil {
		e.fail(err.Error())
		return
	}
	e.buf = out.Bytes()
}

func (e *encoder) fail(message string) {
	if e.err == nil {
		e.err = fmt.Errorf("%w: %s", ErrInvalid, message)
	}
}

// holdsSecret reports whether a value looks as if it held a compact JWS or JWE, a
// private key in PEM, or one as JWK. Callers never put one here; if one slips into
// a claim or a message all the same, it must not stay on disk.
func holdsSecret(s string) bool {
	if len(s) < leastSecret {
		return false
	}
	if i := strings.Index(s, "eyJ"); i >= 0 && strings.IndexByte(s[i:], '.') > 0 {
		return true
	}
	return strings.Contains(s, "PRIVATE KEY-----") || strings.Contains(s, `"d":"`) || strings.Contains(s, `"d": "`)
}

// leastSecret is the length of the shortest of these.
const leastSecret = 24

// textHoldsSecret is holdsSecret for encoded text, without a copy of it.
func textHoldsSecret(b []byte) bool {
	if len(b) < leastSecret {
		return false
	}
	if i := bytes.Index(b, []byte("eyJ")); i >= 0 && bytes.IndexByte(b[i:], '.') > 0 {
		return true
	}
	return bytes.Contains(b, []byte("PRIVATE KEY-----")) || bytes.Contains(b, []byte(`"d":"`)) || bytes.Contains(b, []byte(`"d": "`))
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	if holdsSecret(s) {
		s = redacted
	}
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= utf8.RuneSelf:
			dst = append(dst, "\ufffd"...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
