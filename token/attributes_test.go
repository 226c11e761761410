package token_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/token"
)

func TestAttributesSurviveTheirToken(t *testing.T) {
	c := typicalClaims(t)
	c.Attributes = token.Attributes{
		"user:1": {"groups": []any{"analytics", "eu"}, "level": int64(3), "staff": true, "share": 0.25, "far": 1e300, "none": nil, "<&>\n": "<\u2028>", "deep": map[string]any{"": []any{[]any{}}}},
		"k8s:a":  {"namespace": "agents"},
	}
	payload, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := token.DecodeClaims(payload)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back.Attributes, c.Attributes) {
		t.Errorf("attributes came back as %v", back.Attributes)
	}
}

func TestAttributesThatWouldChangeAreRefused(t *testing.T) {
	deep := any("bottom")
	for range token.MaxDepth {
		deep = []any{deep}
	}
	for name, value := range map[string]any{
		"an integer that a float would round": uint64(1<<63 + 1),
		"no number":                           math.NaN(),
		"infinity":                            math.Inf(1),
		"a type that JSON does not have":      time.Second,
		"text that is no text":                "\xff",
		"nesting that nobody could read":      deep,
	} {
		t.Run(name, func(t *testing.T) {
			c := typicalClaims(t)
			c.Attributes = token.Attributes{"user:1": {"a": value}}
			if payload, err := c.Encode(); err == nil {
				t.Errorf("Encode = %s", payload)
			}
		})
	}
}

func TestAttributesAreBoundedAndTyped(t *testing.T) {
	c := typicalClaims(t)
	c.Attributes = token.Attributes{"user:1": {"groups": strings.Repeat("x", token.MaxAttributes)}}
	if _, err := c.Encode(); !errors.Is(err, token.ErrTooLarge) {
		t.Errorf("encoding too much: %v", err)
	}
	c.Attributes = nil
	payload, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, claim := range map[string]string{
		"not an object":              `"attrs":["a"]`,
		"a principal without id":     `"attrs":{"":{}}`,
		"a principal of no object":   `"attrs":{"user:1":"a"}`,
		"the same principal twice":   `"attrs":{"user:1":{},"user:1":{}}`,
		"the same attribute twice":   `"attrs":{"user:1":{"a":1,"a":2}}`,
		"larger than it may be":      `"attrs":{"user:1":{"a":"` + strings.Repeat("x", token.MaxAttributes) + `"}}`,
		"the claim itself, repeated": `"attrs":{},"attrs":{}`,
	} {
		t.Run(name, func(t *testing.T) {
			forged := string(payload[:len(payload)-1]) + "," + claim + "}"
			if _, err := token.DecodeClaims([]byte(forged)); err == nil {
				t.Error("was decoded")
			}
		})
	}
}

func TestWhetherAttributesFit(t *testing.T) {
	for name, row := range map[string]struct {
		of   token.Attributes
		want bool
	}{
		"none":             {nil, true},
		"some":             {token.Attributes{"user:1": {"groups": []any{"a"}}}, true},
		"too many":         {token.Attributes{"user:1": {"groups": strings.Repeat("x", token.MaxAttributes)}}, false},
		"of an odd type":   {token.Attributes{"user:1": {"groups": struct{}{}}}, false},
		"that is not text": {token.Attributes{"user:1": {"groups": "\xff"}}, false},
	} {
		if got := row.of.Fit(); got != row.want {
			t.Errorf("%s: fit %v", name, got)
		}
	}
}
