package token

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Attributes are what identity sources said of the principals of a token, by principal id:
// only what conditions of the policy read, so that an exchange of the token is decided on
// the same facts. Values are nil, strings, bools, int64, float64 that are not whole, and
// lists ([]any) and objects (map[string]any) of those: what DecodeObject gives.
type Attributes map[string]map[string]any

// MaxAttributes bounds the claim, in bytes of JSON.
const MaxAttributes = 1 << 10

// Fit reports whether a token can carry them.
func (a Attributes) Fit() bool {
	e := encoder{out: []byte{'{'}}
	return e.attributes(a) == nil && !e.invalid
}

// attributes writes the claim attrs, members sorted by name. A value that would come back
// as another one is an error: a fact must not change on the way to the next decision.
func (e *encoder) attributes(a Attributes) error {
	if len(a) == 0 {
		return nil
	}
	e.name("attrs")
	start := len(e.out)
	e.out = append(e.out, '{')
	for _, id := range slices.Sorted(maps.Keys(a)) {
		if id == "" {
			return fmt.Errorf("%w: a principal in attrs", ErrMissingClaim)
		}
		e.key(id)
		if err := e.object(a[id], 3); err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	if len(e.out)-start > MaxAttributes {
		return fmt.Errorf("%w: attrs is larger than %d bytes", ErrTooLarge, MaxAttributes)
	}
	return nil
}

// key is name for a text that may need escapes.
func (e *encoder) key(name string) {
	if e.out[len(e.out)-1] != '{' {
		e.out = append(e.out, ',')
	}
	e.str(name)
	e.out = append(e.out, ':')
}

func (e *encoder) object(object map[string]any, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: attrs nests deeper than %d", ErrTooLarge, MaxDepth)
	}
	e.out = append(e.out, '{')
	for _, name := range slices.Sorted(maps.Keys(object)) {
		e.key(name)
		if err := e.value(object[name], depth+1); err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	return nil
}

func (e *encoder) array(list []any, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: attrs nests deeper than %d", ErrTooLarge, MaxDepth)
	}
	e.out = append(e.out, '[')
	for i, item := range list {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		if err := e.value(item, depth+1); err != nil {
			return err
		}
	}
	e.out = append(e.out, ']')
	return nil
}

func (e *encoder) value(v any, depth int) error {
	switch v := v.(type) {
	case nil:
		e.out = append(e.out, "null"...)
	case string:
		e.str(v)
	case bool:
		e.out = strconv.AppendBool(e.out, v)
	case int64:
		e.out = strconv.AppendInt(e.out, v, 10)
	case uint64:
		if v > math.MaxInt64 {
			return fmt.Errorf("%w: a number in attrs is too large", ErrClaim)
		}
		e.out = strconv.AppendUint(e.out, v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%w: a number in attrs is not finite", ErrClaim)
		}
		// Comes back as an int64 if it is whole and small, as from a foreign token.
		e.out = strconv.AppendFloat(e.out, v, 'g', -1, 64)
	case []any:
		return e.array(v, depth)
	case map[string]any:
		return e.object(v, depth)
	default:
		return fmt.Errorf("%w: attrs cannot hold a %T", ErrClaim, v)
	}
	return nil
}

// attributes reads the claim attrs: an object of objects.
func (d *decoder) attributes() (Attributes, error) {
	start := d.at
	var out Attributes
	err := d.object(2, func(id string) error {
		v, err := d.value(3)
		if err != nil {
			return err
		}
		of, ok := v.(map[string]any)
		if !ok || id == "" {
			return fmt.Errorf("%w: attrs of a principal is not an object", ErrClaim)
		}
		if out == nil {
			out = Attributes{}
		}
		out[id] = of
		return nil
	})
	if err == nil && d.at-start > MaxAttributes {
		return nil, fmt.Errorf("%w: attrs is larger than %d bytes", ErrTooLarge, MaxAttributes)
	}
	return out, err
}
