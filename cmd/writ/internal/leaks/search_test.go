package leaks_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// secret is something that must be found nowhere.
type secret struct {
	name  string
	value []byte
}

// needle is a secret as it would look in an encoding.
type needle struct {
	what string
	text []byte
}

// needles are the forms that a secret can take. Of base64 it is the part that depends on
// nothing but the secret, at each of the three places where it can begin in what was encoded.
func (s secret) needles() []needle {
	out := []needle{
		{s.name + ", as it is", s.value},
		{s.name + ", in hex", []byte(hex.EncodeToString(s.value))},
		{s.name + ", in upper-case hex", []byte(strings.ToUpper(hex.EncodeToString(s.value)))},
		{s.name + ", in a form", []byte(url.QueryEscape(string(s.value)))},
		{s.name + ", in a path", []byte(url.PathEscape(string(s.value)))},
	}
	if text, err := json.Marshal(string(s.value)); err == nil {
		out = append(out, needle{s.name + ", in JSON", text[1 : len(text)-1]})
	}
	for shift := range 3 {
		padded := append(make([]byte, shift), s.value...)
		first, last := (shift*8+5)/6, len(padded)*8/6
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			out = append(out, needle{
				fmt.Sprintf("%s, in %s at %d", s.name, name, shift), []byte(encoding.EncodeToString(padded)[first:last]),
			})
		}
	}
	return out
}

// all are the needles of all secrets, each text once.
func all(secrets []secret) []needle {
	var out []needle
	seen := map[string]bool{}
	for _, s := range secrets {
		for _, n := range s.needles() {
			if !seen[string(n.text)] {
				seen[string(n.text)] = true
				out = append(out, n)
			}
		}
	}
	return out
}

// jws is any signed token, whoever made it.
var jws = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{40,}`)

// search says what of the secrets is where.
func search(places map[string][]byte, secrets []secret) []string {
	var out []string
	needles := all(secrets)
	for place, data := range places {
		for _, n := range needles {
			if i := bytes.Index(data, n.text); i >= 0 {
				out = append(out, fmt.Sprintf("%s: %s: …%q…", place, n.what, around(data, i)))
			}
		}
		if at := jws.FindIndex(data); at != nil {
			out = append(out, fmt.Sprintf("%s: a token: …%q…", place, around(data, at[0])))
		}
	}
	slices.Sort(out)
	return out
}

// around is what stands before a place, which says whose doing it is, and not the secret.
func around(data []byte, i int) []byte { return data[max(0, i-160):min(len(data), i+8)] }
