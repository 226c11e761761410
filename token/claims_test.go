package token_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/token"
)

func TestATypicalTokenFitsIn900Bytes(t *testing.T) {
	claims := typicalClaims(t)
	raw := mustSign(t, claims, newECKey(t))
	// k1 is shorter than a real kid, which has 12 characters.
	size := len(raw) + len(b64(strings.Repeat("k", 10)))
	t.Logf("a typical token has %d bytes", size)
	if size > 900 {
		t.Errorf("a typical token has %d bytes, over 900", size)
	}
}

func TestEncodeAndDecodeAreInverse(t *testing.T) {
	full := typicalClaims(t)
	full.NotBefore = issuedAt - 5
	full.Audience = []string{"https://a.example", "https://b.example"}
	full.Actor = &token.Actor{Subject: "a", Actor: &token.Actor{Subject: "b", Actor: &token.Actor{Subject: "c"}}}
	full.MayAct = &token.Actor{Subject: "k8s:agents:helper"}
	full.Confirmation = &token.Confirmation{X5tS256: "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2", JKT: "0ZcOCORZNYy"}
	full.Task = "quotes \" and \\ and \u2028 and \x01 and ünïcode"
	full.Ancestors = append(full.Ancestors, token.Ancestor{ID: "x", KeyID: "y"})
	least := typicalClaims(t)
	least.Actor, least.Roles, least.Task, least.Ancestors, least.Rev = nil, nil, "", nil, token.Rev{}
	for name, want := range map[string]*token.Claims{"typical": typicalClaims(t), "every claim": full, "only what is required": least} {
		t.Run(name, func(t *testing.T) {
			payload, err := want.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := token.DecodeClaims(payload)
			if err != nil {
				t.Fatalf("%v in %s", err, payload)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("decoded %+v\n   want %+v", got, want)
			}
			again, err := got.Encode()
			if err != nil || string(again) != string(payload) {
				t.Errorf("encoded again: %s, %v\n want %s", again, err, payload)
			}
		})
	}
}

func TestEncodeRefusesWhatNobodyCouldRead(t *testing.T) {
	loop := &token.Actor{Subject: "a"}
	loop.Actor = loop
	for name, spoil := range map[string]func(*token.Claims){
		"no issuer":            func(c *token.Claims) { c.Issuer = "" },
		"no subject":           func(c *token.Claims) { c.Subject = "" },
		"no audience":          func(c *token.Claims) { c.Audience = nil },
		"an empty audience":    func(c *token.Claims) { c.Audience = []string{""} },
		"no expiry":            func(c *token.Claims) { c.Expiry = 0 },
		"expiry in year 10000": func(c *token.Claims) { c.Expiry = 253402300800 },
		"no iat":               func(c *token.Claims) { c.IssuedAt = 0 },
		"negative nbf":         func(c *token.Claims) { c.NotBefore = -1 },
		"no jti":               func(c *token.Claims) { c.ID = "" },
		"no client":            func(c *token.Claims) { c.ClientID = "" },
		"no policy version":    func(c *token.Claims) { c.Policy = "" },
		"long policy version":  func(c *token.Claims) { c.Policy += "0" },
		"an actor's name lost": func(c *token.Claims) { c.Actor = &token.Actor{} },
		"an endless chain":     func(c *token.Claims) { c.Actor = loop },
		"half an ancestor":     func(c *token.Claims) { c.Ancestors = []token.Ancestor{{ID: "x"}} },
		"cnf of nothing":       func(c *token.Claims) { c.Confirmation = &token.Confirmation{} },
		"an empty role":        func(c *token.Claims) { c.Roles = []string{""} },
		"text that is no text": func(c *token.Claims) { c.Task = "\xff" },
	} {
		t.Run(name, func(t *testing.T) {
			c := typicalClaims(t)
			spoil(c)
			if payload, err := c.Encode(); err == nil {
				t.Errorf("Encode = %s, want an error", payload)
			}
		})
	}
}

func TestDecodeClaimsRefuses(t *testing.T) {
	payload, err := typicalClaims(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(payload)
	replace := func(old, with string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in %s", old, good)
		}
		return strings.Replace(good, old, with, 1)
	}
	add := func(member string) string { return strings.TrimSuffix(good, "}") + "," + member + "}" }
	tests := []struct {
		name, payload string
		want          error
	}{
		{"nothing", "", token.ErrMalformed},
		{"null", "null", token.ErrMalformed},
		{"a list", "[]", token.ErrMalformed},
		{"no claims", "{}", token.ErrMissingClaim},
		{"text after", good + "x", token.ErrMalformed},
		{"cut short", good[:len(good)-1], token.ErrMalformed},
		{"a trailing comma", strings.TrimSuffix(good, "}") + ",}", token.ErrMalformed},
		{"duplicate sub", add(`"sub":"root"`), token.ErrDuplicateMember},
		{"duplicate sub by an escape", add(`"\u0073ub":"root"`), token.ErrDuplicateMember},
		{"duplicate of an unknown claim", add(`"x":1,"x":2`), token.ErrDuplicateMember},
		{"duplicate deep in an unknown claim", add(`"x":[{"y":1,"y":2}]`), token.ErrDuplicateMember},
		{"duplicate in act", replace(`"act":{`, `"act":{"sub":"x",`), token.ErrDuplicateMember},
		{"unknown claim too deep", add(`"x":` + strings.Repeat("[", 32) + strings.Repeat("]", 32)), token.ErrTooLarge},
		{"unknown member in act", replace(`"act":{`, `"act":{"iss":"https://x",`), token.ErrMalformed},
		{"unknown way of confirmation", add(`"cnf":{"jwk":{}}`), token.ErrMalformed},
		{"cnf empty", add(`"cnf":{}`), token.ErrMissingClaim},
		{"act null", add(`"may_act":null`), token.ErrMalformed},
		{"act without sub", add(`"may_act":{}`), token.ErrMissingClaim},
		{"iss empty", replace(`"https://writ.example.com"`, `""`), token.ErrMissingClaim},
		{"iss a number", replace(`"https://writ.example.com"`, `1`), token.ErrMalformed},
		{"aud null", replace(`"aud":"https://warehouse.example.com"`, `"aud":null`), token.ErrMalformed},
		{"aud empty list", replace(`"aud":"https://warehouse.example.com"`, `"aud":[]`), token.ErrMissingClaim},
		{"aud of an empty text", replace(`"aud":"https://warehouse.example.com"`, `"aud":[""]`), token.ErrMissingClaim},
		{"exp a text", replace(`"exp":1790000900`, `"exp":"1790000900"`), token.ErrMalformed},
		{"exp with a fraction", replace(`"exp":1790000900`, `"exp":1790000900.5`), token.ErrMalformed},
		{"exp in exponent form", replace(`"exp":1790000900`, `"exp":179e7`), token.ErrMalformed},
		{"exp beyond int64", replace(`"exp":1790000900`, `"exp":99999999999999999999`), token.ErrMalformed},
		{"exp beyond year 9999", replace(`"exp":1790000900`, `"exp":253402300800`), token.ErrClaim},
		{"exp zero", replace(`"exp":1790000900`, `"exp":0`), token.ErrClaim},
		{"iat negative", replace(`"iat":1790000000`, `"iat":-1`), token.ErrClaim},
		{"exp with a leading zero", replace(`"exp":1790000900`, `"exp":01790000900`), token.ErrMalformed},
		{"scope empty", replace(`"scope":"`, `"scope":"","x":"`), token.ErrMissingClaim},
		{"scope not ours", replace(`"scope":"`, `"scope":"openid profile","x":"`), token.ErrMalformed},
		{"rev empty", replace(`"rev":"8f3a12bc99d0e471.10234"`, `"rev":""`), token.ErrMissingClaim},
		{"rev in capitals", replace(`"rev":"8f3a12bc`, `"rev":"8F3A12BC`), token.ErrMalformed},
		{"pol too short", replace(`"pol":"0123456789abcdef"`, `"pol":"0123"`), token.ErrClaim},
		{"pol in capitals", replace(`"pol":"0123456789abcdef"`, `"pol":"0123456789ABCDEF"`), token.ErrClaim},
		{"roles an object", replace(`"roles":["analyst"]`, `"roles":{}`), token.ErrMalformed},
		{"anc without kid", replace(`"kid":"n5kq2xw7hd3m"`, `"kid":""`), token.ErrMissingClaim},
		{"lone surrogate", replace(`"txn":"`, `"txn":"\ud800`), token.ErrMalformed},
		{"invalid UTF-8", replace(`"txn":"`, "\"txn\":\"\xff"), token.ErrMalformed},
		{"control character", replace(`"txn":"`, "\"txn\":\"\n"), token.ErrMalformed},
		{"unknown escape", replace(`"txn":"`, `"txn":"\x41`), token.ErrMalformed},
	}
	for _, claim := range []string{"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "rev", "pol"} {
		tests = append(tests, struct {
			name, payload string
			want          error
		}{claim + " absent", replace(`"`+claim+`":`, `"absent":`), token.ErrMissingClaim})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := token.DecodeClaims([]byte(tt.payload))
			if c != nil || !errors.Is(err, tt.want) {
				t.Errorf("DecodeClaims = %v, %v, want %v", c, err, tt.want)
			}
		})
	}
	if _, err := token.DecodeClaims([]byte(add(`"from_a_newer_broker":{"a":[1,2.5e3,null,true]}`))); err != nil {
		t.Errorf("an unknown claim is refused: %v", err)
	}
}

func TestValidate(t *testing.T) {
	const second = time.Second
	tests := []struct {
		name   string
		change func(*token.Claims, *token.Expect)
		want   error
	}{
		{"valid", func(*token.Claims, *token.Expect) {}, nil},
		{"one audience of several", func(c *token.Claims, e *token.Expect) {
			c.Audience, e.Audience = []string{"x", "y"}, []string{"z", "y"}
		}, nil},
		{"issuer differs", func(c *token.Claims, _ *token.Expect) { c.Issuer += "/" }, token.ErrIssuer},
		{"issuer missing", func(c *token.Claims, _ *token.Expect) { c.Issuer = "" }, token.ErrMissingClaim},
		{"issuer expected by nobody", func(_ *token.Claims, e *token.Expect) { e.Issuer = "" }, token.ErrIssuer},
		{"both issuers empty", func(c *token.Claims, e *token.Expect) { c.Issuer, e.Issuer = "", "" }, token.ErrMissingClaim},
		{"audience differs", func(c *token.Claims, _ *token.Expect) { c.Audience = []string{"https://other"} }, token.ErrAudience},
		{"audience is a prefix", func(c *token.Claims, e *token.Expect) { c.Audience = []string{e.Audience[0] + "/x"} }, token.ErrAudience},
		{"audience missing", func(c *token.Claims, _ *token.Expect) { c.Audience = nil }, token.ErrMissingClaim},
		{"audience expected by nobody", func(_ *token.Claims, e *token.Expect) { e.Audience = nil }, token.ErrAudience},
		{"empty audience on both sides", func(c *token.Claims, e *token.Expect) {
			c.Audience, e.Audience = []string{""}, []string{""}
		}, token.ErrAudience},
		{"last moment", func(_ *token.Claims, e *token.Expect) { e.Now = time.Unix(issuedAt+900+30, 0).Add(-1) }, nil},
		{"expired at exp and leeway", func(_ *token.Claims, e *token.Expect) { e.Now = time.Unix(issuedAt+900+30, 0) }, token.ErrExpired},
		{"exp missing", func(c *token.Claims, _ *token.Expect) { c.Expiry = 0 }, token.ErrMissingClaim},
		{"exp never", func(c *token.Claims, _ *token.Expect) { c.Expiry = 1<<63 - 1 }, token.ErrClaim},
		{"nbf in the future", func(c *token.Claims, _ *token.Expect) { c.NotBefore = issuedAt + 60 + 31 }, token.ErrNotYetValid},
		{"nbf within leeway", func(c *token.Claims, _ *token.Expect) { c.NotBefore = issuedAt + 60 + 30 }, nil},
		{"nbf negative", func(c *token.Claims, _ *token.Expect) { c.NotBefore = -1 }, token.ErrClaim},
		{"iat missing", func(c *token.Claims, _ *token.Expect) { c.IssuedAt = 0 }, token.ErrMissingClaim},
		{"iat in the future", func(_ *token.Claims, e *token.Expect) { e.Now = time.Unix(issuedAt-31, 0) }, token.ErrNotYetValid},
		{"iat within leeway", func(_ *token.Claims, e *token.Expect) { e.Now = time.Unix(issuedAt-30, 0) }, nil},
		{"lives as long as allowed", func(_ *token.Claims, e *token.Expect) { e.MaxTTL = 900 * second }, nil},
		{"lives too long", func(_ *token.Claims, e *token.Expect) { e.MaxTTL = 899 * second }, token.ErrTTL},
		{"no TTL allowed", func(_ *token.Claims, e *token.Expect) { e.MaxTTL = 0 }, token.ErrTTL},
		{"dies before it lives", func(c *token.Claims, e *token.Expect) {
			c.IssuedAt, e.Now = c.Expiry, time.Unix(c.Expiry, 0)
		}, token.ErrTTL},
		{"clock never set", func(_ *token.Claims, e *token.Expect) { e.Now = time.Time{} }, token.ErrNotYetValid},
		{"subject missing", func(c *token.Claims, _ *token.Expect) { c.Subject = "" }, token.ErrMissingClaim},
		{"jti missing", func(c *token.Claims, _ *token.Expect) { c.ID = "" }, token.ErrMissingClaim},
		{"client missing", func(c *token.Claims, _ *token.Expect) { c.ClientID = "" }, token.ErrMissingClaim},
		{"issuer is told before audience and expiry", func(c *token.Claims, _ *token.Expect) {
			c.Issuer, c.Audience, c.Expiry = "x", []string{"x"}, issuedAt-900
		}, token.ErrIssuer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, e := typicalClaims(t), expectation()
			tt.change(c, &e)
			if err := c.Validate(e); !errors.Is(err, tt.want) {
				t.Errorf("Validate = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestAgentsAreEverybodyWhoActs(t *testing.T) {
	c := &token.Claims{ClientID: "a", Actor: &token.Actor{Subject: "a", Actor: &token.Actor{Subject: "b", Actor: &token.Actor{Subject: "c"}}}}
	if got := slices.Collect(c.Agents()); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("Agents = %q", got)
	}
	c.ClientID = "d"
	if got := slices.Collect(c.Agents()); !slices.Equal(got, []string{"d", "a", "b", "c"}) {
		t.Errorf("Agents = %q", got)
	}
	if got := c.Actor.Chain(); !slices.Equal(got, []string{"a", "b", "c"}) || c.Actor.Depth() != 3 {
		t.Errorf("Chain = %q, depth %d", got, c.Actor.Depth())
	}
	if allocs := testing.AllocsPerRun(100, func() {
		for agent := range c.Agents() {
			if agent == "nobody" {
				t.Error("unexpected agent")
			}
		}
	}); allocs > 0 {
		t.Errorf("Agents allocates %v times", allocs)
	}
}

func TestParseRev(t *testing.T) {
	want := token.Rev{Lineage: 0x00000000000000ff, Seq: 18446744073709551615}
	if got, err := token.ParseRev(want.String()); err != nil || got != want || want.String() != "00000000000000ff.18446744073709551615" {
		t.Errorf("ParseRev(%s) = %v, %v", want, got, err)
	}
	for _, text := range []string{"", "ff.1", "00000000000000ff", "00000000000000ff.", "00000000000000FF.1", "00000000000000ff.01",
		"00000000000000ff.+1", "00000000000000ff.-1", "00000000000000ff.18446744073709551616", "00000000000000ff.1 ", "00000000000000ff.0x1", "00000000000000ff.1_0", "+0000000000000ff.1"} {
		if got, err := token.ParseRev(text); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("ParseRev(%q) = %v, %v, want ErrMalformed", text, got, err)
		}
	}
}
