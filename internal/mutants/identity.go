package mutants

// identity breaks who counts as proven.
func identity() []Mutant {
	return []Mutant{
		{
			Name: "identity: a remembered token outlives its issuer's key", File: "identity/cache.go",
			Old:      "at < e.until && keys.Generation(e.principal.Source) == e.keys",
			New:      "at < e.until",
			Packages: []string{"./identity"}, Run: "^TestCacheForgetsWithTheKeys$",
		},
		{
			Name: "identity: a rule that cannot be evaluated holds", File: "identity/mapping.go",
			Old:      "err != nil || met != true",
			New:      "err == nil && met != true",
			Packages: []string{"./identity"}, Run: "^TestRequirementTellsItsMessage$",
		},
		{
			Name: "identity: the issuer's document by prefix", File: "identity/jwks/fetch.go",
			Old:      "if document[\"issuer\"] != f.source.Issuer {",
			New:      "if !strings.HasPrefix(fmt.Sprint(document[\"issuer\"]), f.source.Issuer) {",
			Packages: []string{"./identity/jwks"}, Run: "^TestDiscoveryDocumentMustBeTheIssuers$",
		},
		{
			Name: "identity: a DPoP-bound token taken as a bearer token", File: "identity/authenticate.go",
			Old:      "\t\treturn \"\", ErrConfirmation\n",
			New:      "\t\treturn \"\", nil\n",
			Packages: []string{"./identity"}, Run: "^TestAuthenticateRefusesClaims$",
		},
		{
			Name: "identity: a certificate-bound token taken without its certificate", File: "broker/proofs.go",
			Old:      "if p.Confirmation != \"\" && p.Confirmation != req.Caller.thumbprint() {",
			New:      "if false {",
			Packages: []string{"./broker"}, Run: "^TestBoundForeignTokens$",
		},
		{
			Name: "identity: an exchange sheds a binding", File: "broker/proofs.go",
			Old:      "\tp.thumbprint = cmp.Or(p.thumbprint, p.subject.Confirmation)\n",
			New:      "",
			Packages: []string{"./broker"}, Run: "^TestBoundForeignTokens$",
		},
	}
}
