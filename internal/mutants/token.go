package mutants

// token breaks what the one place that reads tokens refuses.
func token() []Mutant {
	return []Mutant{
		{
			Name: "token: a PSS salt of any length", File: "token/algorithm.go",
			Old:      "SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash},",
			New:      "SaltLength: rsa.PSSSaltLengthAuto, Hash: a.hash},",
			Packages: []string{"./token"}, Run: "^TestSignatureOfAnotherShapeIsRefused$",
		},
		{
			Name: "token: base64 with stray bits", File: "token/jws.go",
			Old:      "base64.RawURLEncoding.Strict()",
			New:      "base64.RawURLEncoding",
			Packages: []string{"./token"}, Run: "^TestParseRefuses$",
		},
	}
}
