package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"cel.dev/cel-go/cel"
)

// source is a compiled Source.
type source struct {
	Source
	jwt        bool
	subject    cel.Program
	attributes []mapping
	rules      []rule
	// authorities are the X.509 roots in force: nil until SetAuthorities.
	authorities atomic.Pointer[x509.CertPool]
}

type mapping struct {
	name    string
	program cel.Program
}

type rule struct {
	program cel.Program
	failure *RequirementError
}

// faults collects what is wrong with one source.
type faults struct {
	source string
	list   []error
}

func (f *faults) add(field, format string, args ...any) {
	f.list = append(f.list, &SourceError{Source: f.source, Field: field, Message: fmt.Sprintf(format, args...)})
}

// Compile applies the presets to the sources and checks and compiles them. It reports every fault at
// once: the error joins a *SourceError for each. The sources are not changed.
func Compile(sources []Source) (*Registry, error) {
	lang, err := newLanguage()
	if err != nil {
		return nil, err
	}
	var all []error
	compiled := make([]*source, 0, len(sources))
	for _, s := range sources {
		f := &faults{source: s.Name}
		c := compileSource(lang, s, f)
		all = append(all, f.list...)
		compiled = append(compiled, c)
	}
	r, conflicts := newRegistry(compiled)
	all = append(all, conflicts...)
	if len(all) > 0 {
		return nil, errors.Join(all...)
	}
	return r, nil
}

func compileSource(lang *language, s Source, f *faults) *source {
	s = complete(s, f)
	c := &source{Source: s, jwt: s.provesByJWT()}
	checkNames(s, f)
	if c.jwt {
		checkJWT(s, f)
	} else if s.X509 == nil {
		f.add("issuer", "the source proves nobody: set issuer (or trust_domain) and where its keys are, or x509")
	}
	if s.X509 != nil {
		checkX509(s, f)
	}
	compileClaims(lang, c, f)
	for i, r := range s.Require {
		field := fmt.Sprintf("require[%d]", i)
		if strings.TrimSpace(r.Message) == "" {
			f.add(field, "has no message: say what a token must have")
		}
		program, err := lang.compile(r.Expression, acceptBool)
		if err != nil {
			f.add(field, "expression: %v", err)
		}
		c.rules = append(c.rules, rule{program: program, failure: &RequirementError{Message: r.Message}})
	}
	return c
}

// complete returns the source with its preset and the defaults applied, on storage of its own.
func complete(s Source, f *faults) Source {
	s.Claims = maps.Clone(s.Claims)
	if s.Claims == nil {
		s.Claims = map[string]string{}
	}
	if s.X509 != nil {
		own := *s.X509
		s.X509 = &own
		s.TrustDomain = fallback(s.TrustDomain, own.TrustDomain)
	}
	s, ok := withPreset(s)
	if !ok {
		f.add("preset", "there is no preset %q; there are %s", s.Preset, strings.Join(Presets(), ", "))
	}
	if s.X509 != nil {
		s.X509.TrustDomain = fallback(s.X509.TrustDomain, s.TrustDomain)
	}
	s.Leeway = fallback(s.Leeway, DefaultLeeway)
	s.MaxAge = fallback(s.MaxAge, DefaultMaxAge)
	if len(s.Algorithms) == 0 {
		s.Algorithms = []string{"RS256", "ES256"}
	}
	if len(s.Types) == 0 {
		s.Types = []string{"", "JWT"}
	}
	s.Audiences = slices.Clone(s.Audiences)
	s.Algorithms = bothNames(s.Algorithms)
	s.Types = slices.Clone(s.Types)
	s.Require = slices.Clone(s.Require)
	if _, set := s.Claims[SubjectClaim]; !set {
		s.Claims[SubjectClaim] = "claims.sub"
	}
	maps.DeleteFunc(s.Claims, func(name, expression string) bool {
		return expression == "" && name != SubjectClaim
	})
	return s
}

func (s Source) provesByJWT() bool {
	return s.Issuer != "" || s.JWKSFile != "" || s.JWKSURI != "" || s.Discovery || len(s.Audiences) > 0
}

func checkNames(s Source, f *faults) {
	if !regexp.MustCompile(`\A[a-z][a-z0-9_-]*\z`).MatchString(s.Name) {
		f.add("name", "%q must begin with a lower-case letter, then lower-case letters, digits, '_', '-'", s.Name)
	}
	if s.Kind != KindWorkload && s.Kind != KindUser {
		f.add("kind", "must be %q or %q", KindWorkload, KindUser)
	}
	switch {
	case s.SubjectPrefix == "":
		f.add("subject_prefix", "is required: it keeps this issuer from naming another's principals")
	case !strings.HasSuffix(s.SubjectPrefix, ":") && !strings.HasSuffix(s.SubjectPrefix, "/"):
		f.add("subject_prefix", "%q must end in ':' or '/'", s.SubjectPrefix)
	case !isID(s.SubjectPrefix):
		f.add("subject_prefix", "%q must have no white space, control character or '*'", s.SubjectPrefix)
	}
	if s.TrustDomain != "" && !isTrustDomain(s.TrustDomain) {
		f.add("trust_domain", "%q is not a SPIFFE trust domain (the name alone, such as prod.example.org)", s.TrustDomain)
	}
	if s.Leeway < 0 || s.Leeway > MaxLeeway {
		f.add("leeway", "must be between 0 and %s", MaxLeeway)
	}
	if s.MaxAge < 0 {
		f.add("max_age", "must not be negative")
	}
}

func checkJWT(s Source, f *faults) {
	if s.Issuer == "" && s.TrustDomain == "" {
		f.add("issuer", "is required: the exact iss of this platform's tokens")
	}
	if len(s.Audiences) == 0 {
		f.add("audiences", "at least one is required: without it, a token made for any other service would do")
	}
	if slices.Contains(s.Audiences, "") {
		f.add("audiences", "must not be empty text")
	}
	for _, alg := range s.Algorithms {
		if !slices.Contains(asymmetric(), alg) {
			f.add("algorithms", "%q is not one of %s", alg, strings.Join(asymmetric(), ", "))
		}
	}
	for _, typ := range s.Types {
		if strings.EqualFold(strings.TrimPrefix(strings.ToLower(typ), "application/"), "wit+jwt") {
			f.add("types", "wit+jwt is bound to a key and never a bearer token")
		}
	}
	checkKeyLocation(s, f)
}

func asymmetric() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"}
}

// bothNames lets Ed25519 and EdDSA, its name before RFC 9864, stand for each other.
func bothNames(algorithms []string) []string {
	out := slices.Clone(algorithms)
	for _, pair := range [][2]string{{"Ed25519", "EdDSA"}, {"EdDSA", "Ed25519"}} {
		if slices.Contains(algorithms, pair[0]) && !slices.Contains(algorithms, pair[1]) {
			out = append(out, pair[1])
		}
	}
	return out
}

func checkKeyLocation(s Source, f *faults) {
	locations := 0
	for _, set := range []bool{s.JWKSFile != "", s.JWKSURI != "", s.Discovery} {
		if set {
			locations++
		}
	}
	if locations != 1 {
		f.add("jwks_uri", "set exactly one of jwks_file, jwks_uri and discovery")
	}
	if s.JWKSURI != "" {
		checkURL("jwks_uri", s.JWKSURI, s.AllowPrivateAddresses, f)
	}
	if s.Discovery {
		if s.Issuer == "" {
			f.add("discovery", "needs an issuer to discover from")
			return
		}
		checkURL("issuer", s.Issuer, s.AllowPrivateAddresses, f)
	}
}

// checkURL accepts https alone; http only where the operator opened the private network.
func checkURL(field, text string, private bool, f *faults) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		f.add(field, "%q is not an absolute URL", text)
	case u.Scheme != "https" && (u.Scheme != "http" || !private):
		f.add(field, "%q must be https (http needs allow_private_addresses)", text)
	case u.User != nil || u.Fragment != "":
		f.add(field, "must have no user and no fragment")
	}
}

func checkX509(s Source, f *faults) {
	switch {
	case s.TrustDomain == "":
		f.add("trust_domain", "is required for x509")
	case s.X509.TrustDomain != s.TrustDomain:
		f.add("x509.trust_domain", "%q differs from the source's trust_domain %q", s.X509.TrustDomain, s.TrustDomain)
	}
	if (s.X509.BundleFile == "") == (s.X509.BundleURI == "") {
		f.add("x509.bundle_file", "set exactly one of bundle_file and bundle_uri")
	}
	if s.X509.BundleURI != "" {
		checkURL("x509.bundle_uri", s.X509.BundleURI, s.AllowPrivateAddresses, f)
	}
}

func compileClaims(lang *language, c *source, f *faults) {
	for _, name := range slices.Sorted(maps.Keys(c.Claims)) {
		field, accept := "claims."+name, acceptAttribute
		if name == SubjectClaim {
			accept = acceptText
		} else if !regexp.MustCompile(`\A[a-zA-Z_][a-zA-Z0-9_]*\z`).MatchString(name) {
			f.add(field, "an attribute's name must be letters, digits and '_', so that policy can write subject.attributes.%s", "name")
		}
		program, err := lang.compile(c.Claims[name], accept)
		if err != nil {
			f.add(field, "%v", err)
			continue
		}
		if name == SubjectClaim {
			c.subject = program
		} else {
			c.attributes = append(c.attributes, mapping{name: name, program: program})
		}
	}
}
