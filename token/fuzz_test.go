package token_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/writbroker/writ/token"
)

// FuzzParse: what is accepted has exactly one text, and its header is what
// encoding/json sees too.
func FuzzParse(f *testing.F) {
	key := newECKey(f)
	f.Add(mustSign(f, typicalClaims(f), key))
	signer := mustSigner(f, "k", token.ES256, key)
	f.Add(craft(f, `{"alg":"ES256","kid":"\u0041","x":[1,{}]}`, `{}`, signer))
	f.Add(craft(f, ` {"alg" : "RS256"} `, `x`, signer))
	f.Add("e30.e30.AA")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := token.Parse(raw)
		if err != nil {
			return
		}
		parts := strings.Split(raw, ".")
		header, err := base64.RawURLEncoding.DecodeString(parts[0])
		if err != nil || len(parts) != 3 {
			t.Fatalf("accepted %q", raw)
		}
		for i, part := range parts {
			decoded, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil || base64.RawURLEncoding.EncodeToString(decoded) != part {
				t.Fatalf("part %d of %q is not canonical", i, raw)
			}
		}
		var want struct {
			Alg string `json:"alg"`
			Kid string `json:"kid"`
			Typ string `json:"typ"`
		}
		if err := json.Unmarshal(header, &map[string]any{}); err != nil {
			t.Fatalf("accepted header %q: %v", header, err)
		}
		// encoding/json takes ALG for alg, so ask it only where no such name is.
		if strings.ToLower(string(header)) == string(header) && json.Unmarshal(header, &want) == nil {
			if got := u.Header(); got != (token.Header{Algorithm: want.Alg, KeyID: want.Kid, Type: want.Typ}) {
				t.Fatalf("header %q read as %+v", header, got)
			}
		}
		if _, err := u.Verify(token.Key{Public: key.Public()}); err == nil && u.Header().Algorithm != token.ES256 {
			t.Fatalf("verified %q", raw)
		}
	})
}

// FuzzDecodeClaims: what is accepted survives the round trip unchanged.
func FuzzDecodeClaims(f *testing.F) {
	typical, err := typicalClaims(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(typical)
	f.Add([]byte(strings.Replace(string(typical), `"txn":"`, `"cnf":{"jkt":"x"},"nbf":1,"may_act":{"sub":"\u00e9\n"},"unknown":{"a":[1]},"attrs":{"u":{"a":[1,0.5,null,{}],"b":1e3}},"txn":"`, 1)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		claims, err := token.DecodeClaims(payload)
		if err != nil {
			return
		}
		encoded, err := claims.Encode()
		if errors.Is(err, token.ErrTooLarge) && len(claims.Attributes) > 0 {
			return // its escapes are longer than those it was read with
		}
		if err != nil {
			t.Fatalf("%q decodes to what cannot be encoded: %v", payload, err)
		}
		again, err := token.DecodeClaims(encoded)
		if err != nil {
			t.Fatalf("%q: %v", encoded, err)
		}
		if !reflect.DeepEqual(claims, again) {
			t.Fatalf("%+v became %+v", claims, again)
		}
		if !json.Valid(encoded) {
			t.Fatalf("%q is not JSON", encoded)
		}
	})
}

// FuzzDecodeObject: what is accepted means the same to encoding/json; what
// encoding/json accepts is accepted, unless it is one of the listed leniencies.
func FuzzDecodeObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":[1,2.5,-0,1e3,true,false,null,"x\u00e9\ud83d\ude00\/"],"b":{"c":{}}}`, `{"a":1,"a":2}`,
		"{\"a\":\"\xff\"}", `{"a":"\ud800"}`, `{"n":9223372036854775808}`, `{"n":1e999}`, ` { "a" : [ ] } `, `{"a":01}`, `{"a":1.}`, `{"a":.5}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := token.DecodeObject(payload)
		var want map[string]any
		wantErr := json.Unmarshal(payload, &want)
		if err == nil {
			if wantErr != nil {
				t.Fatalf("accepted %q: %v", payload, wantErr)
			}
			if !reflect.DeepEqual(asFloats(got), any(want)) {
				t.Fatalf("%q read as %v, encoding/json reads %v", payload, got, want)
			}
			return
		}
		if wantErr == nil && want != nil && !lenient(payload) {
			t.Fatalf("refused %q: %v", payload, err)
		}
	})
}

// lenient reports whether a text may hold what only encoding/json tolerates.
func lenient(payload []byte) bool {
	text := string(payload)
	return !utf8.Valid(payload) || strings.Contains(text, `\u`) || strings.Count(text, ":") > 1 ||
		strings.Count(text, "[")+strings.Count(text, "{") > token.MaxDepth ||
		strings.ContainsAny(text, "0123456789") // out of int64, or rounded
}

func asFloats(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case map[string]any:
		for k, item := range v {
			v[k] = asFloats(item)
		}
	case []any:
		for i, item := range v {
			v[i] = asFloats(item)
		}
	}
	return v
}
