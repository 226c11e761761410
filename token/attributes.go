package token

import (
	"encoding/json"
	"fmt"
)

// Attributes are what identity sources said of the principals of a token, by principal id:
// only what conditions of the policy read, so that an exchange of the token is decided on
// the same facts. Values are strings, bools, numbers, and lists and objects of those.
type Attributes map[string]map[string]any

// MaxAttributes bounds the claim, in bytes of JSON.
const MaxAttributes = 1 << 10

// attributes writes the claim attrs, members sorted by name.
func (e *encoder) attributes(a Attributes) error {
	if len(a) == 0 {
		return nil
	}
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("%w: attrs: %w", ErrClaim, err)
	}
	if len(text) > MaxAttributes {
		return fmt.Errorf("%w: attrs is larger than %d bytes", ErrTooLarge, MaxAttributes)
	}
	e.name("attrs")
	e.out = append(e.out, text...)
	return nil
}

// attributes reads the claim attrs: an object of objects.
func (d *decoder) attributes() (Attributes, error) {
	start := d.at
	out := Attributes{}
	err := d.object(2, func(id string) error {
		v, err := d.value(3)
		if err != nil {
			return err
		}
		of, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%w: attrs of a principal is not an object", ErrClaim)
		}
		out[id] = of
		return nil
	})
	if err == nil && d.at-start > MaxAttributes {
		return nil, fmt.Errorf("%w: attrs is larger than %d bytes", ErrTooLarge, MaxAttributes)
	}
	return out, err
}
