package token_test

import (
	"strings"
	"testing"

	"github.com/writbroker/writ/token"
)

func TestRedact(t *testing.T) {
	raw := "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0." + strings.Repeat("Ab-_", 20)
	for text, want := range map[string]string{
		"":                               "",
		"no token here":                  "no token here",
		raw:                              "[token]",
		"scope '" + raw + "' is no good": "scope '[token]' is no good",
		raw + " " + raw[:50] + "," + raw: "[token] [token],[token]",
		"Bearer " + raw + "x/y":          "Bearer [token]/y",
		"eyJ is how they begin":          "eyJ is how they begin",
		"eyJhbGciOiJFUzI1NiJ9":           "eyJhbGciOiJFUzI1NiJ9",
		"warehouse:read:eyJ.b":           "warehouse:read:eyJ.b",
		"x" + raw:                        "x[token]",
	} {
		if got := token.Redact(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
		if token.Holds(text) != (text != want) {
			t.Errorf("%q holds a token: %t", text, token.Holds(text))
		}
	}
}
