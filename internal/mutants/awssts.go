package mutants

// awssts breaks what keeps a session policy from being wider than its scopes, and what keeps
// names and denies of sessions apart.
func awssts() []Mutant {
	var (
		compile = "mint/awssts/compile.go"
		deny    = "mint/awssts/deny.go"
		stray   = "mint/awssts/stray.go"
		list    = "mint/awssts/list.go"
		target  = "mint/awssts/target.go"
		names   = "mint/awssts/names.go"
		denies  = "mint/awssts/denylist/denylist.go"
		here    = []string{"./mint/awssts"}
	)
	const property = "^TestPolicyIsTheScopes$"
	return []Mutant{
		{
			"awssts: no deny of what is deeper", deny,
			"if depth > 0 {",
			"if depth < 0 {",
			here, property,
		},
		{
			"awssts: no deny of what no scope can name", deny,
			"if g.target.loose && kinds != 0 {",
			"if g.target.loose && kinds == 0 {",
			here, property,
		},
		{
			"awssts: an empty segment at the end is let in", stray,
			"position = atEnd",
			"position = inMiddle",
			here, property,
		},
		{
			"awssts: .. is taken for a name", stray,
			"anyStray   = strayEmpty | strayDot | strayDots",
			"anyStray   = strayEmpty | strayDot",
			here, property,
		},
		{
			"awssts: a name behind a wildcard and before ** is let through", target,
			"if !t.closed && !p.tight() {",
			"if t.closed && !p.tight() {",
			here, property,
		},
		{
			"awssts: a deny cuts what is granted", deny,
			"if b.hits(d, action) == 0 {",
			"if b.hits(d, action) >= 0 {",
			here, property,
		},
		{
			"awssts: a deny is looked for among one scope's own actions alone", deny,
			"if action != \"\" && !slices.Contains(g.target.actions, action) || !d.meets(g) {",
			"if action == \"\" || !slices.Contains(g.target.actions, action) || !d.meets(g) {",
			here, property,
		},
		{
			"awssts: wildcards and variables in a name are not escaped", "mint/awssts/iam/pattern.go",
			"func Literal(raw string) string { return escape(raw, true) }",
			"func Literal(raw string) string { return raw }",
			here, property,
		},
		{
			"awssts: \"${\" is not escaped", "mint/awssts/iam/pattern.go",
			`strings.IndexByte("{$*?", raw[i+1]) >= 0`,
			`strings.IndexByte("$*?", raw[i+1]) >= 0`,
			here, property,
		},
		{
			"awssts: a segment may hold a separator", target,
			`if reserved != "" && strings.Contains(text, reserved) {`,
			`if reserved == "" && strings.Contains(text, reserved) {`,
			here, "^TestRefusedScopes$",
		},
		{
			"awssts: a list without a prefix", list,
			`if slices.Sort(like); like[0] != "*" {`,
			`if slices.Sort(like); like[0] == "*" {`,
			here, property,
		},
		{
			"awssts: a list of one level shows what is deeper", list,
			"\tfor _, p := range below {\n\t\tunlike",
			"\tfor _, p := range below[:0] {\n\t\tunlike",
			here, property,
		},
		{
			"awssts: a list of one level needs no delimiter", list,
			"if below != nil {",
			"if below == nil {",
			here, property,
		},
		{
			"awssts: a list of one name", list,
			"if !g.path.tail && !g.path.segments[len(g.path.segments)-1].wild {",
			"if !g.path.tail && g.path.segments == nil {",
			here, property,
		},
		{
			"awssts: what is not granted stays open to resource policies", compile,
			"Effect: iam.Deny, NotActions: k.actions(), Resources: []string{\"*\"},\n\t}, why: \"nothing",
			"Effect: iam.Deny, Actions: []string{\"sts:*\"}, Resources: []string{\"*\"},\n\t}, why: \"nothing",
			here, "^TestCompiled$",
		},
		{
			"awssts: conditions of a mapping are forgotten", "mint/awssts/load_target.go",
			"t.conditions = append(l.conditions(a, w.Conditions), l.conditions(a, a.Conditions)...)",
			"t.conditions = l.conditions(a, w.Conditions)",
			here, property,
		},
		{
			"awssts: a condition is shed beside a grant without one", "mint/awssts/allow.go",
			"slices.Contains(w.target.actions, action) && w.target.under == key {",
			"slices.Contains(w.target.actions, action) && w.target.under >= key {",
			here, property,
		},
		{
			"awssts: a short life is forgotten", compile,
			"Operator: \"DateLessThan\", Key: \"aws:CurrentTime\"",
			"Operator: \"DateGreaterThanEquals\", Key: \"aws:CurrentTime\"",
			here, "^TestUntil$",
		},
		{
			"awssts: a policy that is too long is given out", compile,
			"if p.Size <= limit {\n\t\treturn p, nil\n\t}\n\tif fit",
			"if p.Size <= 2*limit {\n\t\treturn p, nil\n\t}\n\tif fit",
			here, "^TestTooLarge$",
		},
		{
			"awssts: a managed policy that allows more is used", "mint/awssts/managed.go",
			"if set.CoversSet(m.scopes, nil) {",
			"if m.arn != \"\" {",
			here, "^TestManaged$",
		},
		{
			"awssts: an id takes the name of another's digest", names,
			"if fits(text) && !strings.HasPrefix(text, digestPrefix) {",
			"if fits(text) {",
			here, "^(TestNamesAreInjective|TestSourceIdentity)$",
		},
		{
			"awssts: what is denied ends with the first who asked", denies,
			"!e.Before.Before(f.Before) && !e.Expires.Before(f.Expires)",
			"!e.Before.Before(f.Before)",
			[]string{"./mint/awssts/denylist"}, "^TestMerge$",
		},
		{
			"awssts: a deny is written over what somebody else wrote", "mint/awssts/denylist/document.go",
			"if sorted, err := iam.Parse(written); err != nil ||",
			"if sorted, err := iam.Parse(written); err != nil && ",
			[]string{"./mint/awssts/denylist"}, "^TestForeignDocuments$",
		},
	}
}
