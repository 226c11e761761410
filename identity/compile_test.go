package identity_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/identity"
)

func TestCompileRefuses(t *testing.T) {
	rule := func(expression string) func(*identity.Source) {
		return func(s *identity.Source) { s.Require = []identity.Rule{{Expression: expression, Message: "m"}} }
	}
	claim := func(name, expression string) func(*identity.Source) {
		return func(s *identity.Source) { s.Claims = map[string]string{name: expression} }
	}
	cases := []struct {
		name    string
		change  func(*identity.Source)
		field   string
		message string
	}{
		{"a name with capitals", func(s *identity.Source) { s.Name = "Acme" }, "name", "lower-case"},
		{"no kind", func(s *identity.Source) { s.Kind = "" }, "kind", "workload"},
		{"an unknown preset", func(s *identity.Source) { s.Preset = "azure" }, "preset", "github"},
		{"no issuer", func(s *identity.Source) { s.Issuer = "" }, "issuer", "required"},
		{"no audience", func(s *identity.Source) { s.Audiences = nil }, "audiences", "at least one"},
		{"an empty audience", func(s *identity.Source) { s.Audiences = []string{""} }, "audiences", "empty"},
		{"an HMAC", func(s *identity.Source) { s.Algorithms = []string{"HS256"} }, "algorithms", "HS256"},
		{"the algorithm none", func(s *identity.Source) { s.Algorithms = []string{"none"} }, "algorithms", "none"},
		{"bound tokens as bearer tokens", func(s *identity.Source) { s.Types = []string{"application/WIT+JWT"} }, "types", "bound"},
		{"no keys", func(s *identity.Source) { s.JWKSFile = "" }, "jwks_uri", "exactly one"},
		{"keys in two places", func(s *identity.Source) { s.JWKSURI = "https://a.example/k" }, "jwks_uri", "exactly one"},
		{"keys over http", func(s *identity.Source) { s.JWKSFile, s.JWKSURI = "", "http://a.example/k" }, "jwks_uri", "https"},
		{"keys with a password in the URL", func(s *identity.Source) { s.JWKSFile, s.JWKSURI = "", "https://u:p@a.example/k" }, "jwks_uri", "no user"},
		{"discovery at an issuer that is no URL", func(s *identity.Source) { s.JWKSFile, s.Discovery, s.Issuer = "", true, "kubernetes/serviceaccount" }, "issuer", "URL"},
		{"no prefix", func(s *identity.Source) { s.SubjectPrefix = "" }, "subject_prefix", "required"},
		{"a prefix without end", func(s *identity.Source) { s.SubjectPrefix = "acme" }, "subject_prefix", "end in"},
		{"a prefix with a star", func(s *identity.Source) { s.SubjectPrefix = "*:" }, "subject_prefix", "'*'"},
		{"a leeway of an hour", func(s *identity.Source) { s.Leeway = time.Hour }, "leeway", "between"},
		{"a negative age", func(s *identity.Source) { s.MaxAge = -1 }, "max_age", "negative"},
		{"a trust domain with a scheme", func(s *identity.Source) { s.TrustDomain = "spiffe://td" }, "trust_domain", "alone"},
		{"X.509 without trust domain", func(s *identity.Source) { s.X509 = &identity.X509Config{BundleFile: "b"} }, "trust_domain", "required"},
		{"X.509 without authorities", func(s *identity.Source) { s.TrustDomain, s.X509 = "td", &identity.X509Config{} }, "x509.bundle_file", "exactly one"},
		{"two trust domains", func(s *identity.Source) {
			s.TrustDomain, s.X509 = "td", &identity.X509Config{TrustDomain: "other", BundleFile: "b"}
		}, "x509.trust_domain", "differs"},

		{"a rule without message", func(s *identity.Source) { s.Require = []identity.Rule{{Expression: "true"}} }, "require[0]", "message"},
		{"an empty rule", rule(" "), "require[0]", "empty"},
		{"a rule that does not parse", rule("claims."), "require[0]", "Syntax error"},
		{"a rule that does not type-check", rule("claims.size() == 'a'"), "require[0]", "no matching overload"},
		{"a rule over something unknown", rule("claim.sub == 'a'"), "require[0]", "undeclared reference"},
		{"a rule that is no bool", rule("'true'"), "require[0]", "must be a bool"},
		{"a pattern from a claim", rule("claims.sub.matches(claims.pattern)"), "require[0]", "literal"},
		{"a pattern that is none", rule("claims.sub.matches('(')"), "require[0]", "missing closing"},
		{"a pattern that breaks out of its anchors", rule("matches(claims.sub, 'a)|(b')"), "require[0]", "unexpected )"},
		{"a pattern that explodes", rule("claims.sub.matches('((a{100}){10}){10}')"), "require[0]", ""},
		{"a loop in a loop", rule("claims.a.all(x, claims.b.all(y, x == y))"), "require[0]", "too long"},
		{"a search in a loop", rule("claims.groups.exists(g, g.contains(claims.sub))"), "require[0]", "too long"},
		{"an expression of 5 kB", rule("claims.sub == '" + strings.Repeat("a", 5000) + "'"), "require[0]", "exceeds limit"},

		{"an attribute that policy cannot write", claim("a-b", "claims.sub"), "claims.a-b", "letters"},
		{"an attribute of a type that policy cannot read", claim("when", "timestamp(claims.iat)"), "claims.when", "convert"},
		{"a subject that is a number", claim("subject", "int(claims.sub)"), "claims.subject", "string"},
		{"no subject", claim("subject", ""), "claims.subject", "empty"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			source := acme()
			c.change(&source)
			_, err := identity.Compile([]identity.Source{source})
			for _, fault := range faults(err) {
				if fault.Field == c.field && strings.Contains(fault.Message, c.message) {
					return
				}
			}
			t.Errorf("no fault of %s with %q in:\n%v", c.field, c.message, err)
		})
	}
}

func faults(err error) []*identity.SourceError {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var out []*identity.SourceError
	for _, part := range joined.Unwrap() {
		if fault, ok := errors.AsType[*identity.SourceError](part); ok {
			out = append(out, fault)
		}
	}
	return out
}

func TestCompileReportsAllFaults(t *testing.T) {
	first, second := acme(), acme()
	first.Audiences, first.Kind, first.Claims = nil, "", map[string]string{"a": "claims.", "b": "nope"}
	second.Name, second.Issuer, second.SubjectPrefix = "second", "https://second.example", "acme:x/"
	second.Require = []identity.Rule{{Expression: "1", Message: "m"}}
	_, err := identity.Compile([]identity.Source{first, second})
	if got := len(faults(err)); got != 6 {
		t.Errorf("%d faults, want 6:\n%v", got, err)
	}
}

func TestSourcesMustNotCollide(t *testing.T) {
	cases := []struct {
		name   string
		change func(*identity.Source)
		field  string // "" = accepted
	}{
		{"different in all", func(*identity.Source) {}, ""},
		{"the same name", func(s *identity.Source) { s.Name = "acme" }, "name"},
		{"the same issuer", func(s *identity.Source) { s.Issuer = "https://issuer.acme.example" }, "issuer"},
		{"the same prefix", func(s *identity.Source) { s.SubjectPrefix = "acme:" }, "subject_prefix"},
		{"a longer prefix", func(s *identity.Source) { s.SubjectPrefix = "acme:eu/" }, "subject_prefix"},
		{"a shorter prefix", func(s *identity.Source) { s.SubjectPrefix = "a:" }, ""},
		{"a prefix that sorts between", func(s *identity.Source) { s.SubjectPrefix = "acme-eu:" }, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			second := acme()
			second.Name, second.Issuer, second.SubjectPrefix = "second", "https://second.example", "second:"
			c.change(&second)
			third := acme()
			third.Name, third.Issuer, third.SubjectPrefix = "third", "https://third.example", "acme!:"
			_, err := identity.Compile([]identity.Source{second, third, acme()})
			got := ""
			if list := faults(err); len(list) == 1 {
				got = list[0].Field
			}
			if got != c.field || (err == nil) != (c.field == "") {
				t.Errorf("got fault of %q: %v", got, err)
			}
		})
	}
}

func TestTwoSourcesOfOneTrustDomain(t *testing.T) {
	svid := identity.Source{Name: "mesh", Preset: "spiffe-jwt", TrustDomain: "td", JWKSFile: "b", Audiences: []string{audience}}
	again := svid
	again.Name, again.SubjectPrefix = "again", "again:"
	if _, err := identity.Compile([]identity.Source{svid, again}); len(faults(err)) != 1 || faults(err)[0].Field != "trust_domain" {
		t.Errorf("got %v", err)
	}
}

func TestSourceOf(t *testing.T) {
	var sources []identity.Source
	for _, prefix := range []string{"b:", "a:x/", "a:y/", "spiffe://td/", "c/"} {
		s := acme()
		s.Name, s.Issuer = "s"+strings.NewReplacer(":", "", "/", "").Replace(prefix), "https://"+prefix
		s.SubjectPrefix = prefix
		sources = append(sources, s)
	}
	reg := compile(t, sources...)
	for id, prefix := range map[string]string{
		"a:x/1": "a:x/", "a:y/": "a:y/", "b:c:d": "b:", "spiffe://td/ns/a": "spiffe://td/", "c/d": "c/",
		"": "", "a": "", "a:": "", "a:z/1": "", "zz": "", "spiffe://td2/a": "", "A:x/1": "",
	} {
		got, ok := reg.SourceOf(id)
		if got.SubjectPrefix != prefix || ok != (prefix != "") {
			t.Errorf("SourceOf(%q) = %q, %v; want %q", id, got.SubjectPrefix, ok, prefix)
		}
	}
}
