package mutants

func scopes() []Mutant {
	var (
		match   = "scopes/match.go"
		scope   = "scopes/scope.go"
		union   = "scopes/union.go"
		set     = "scopes/set.go"
		minimal = "scopes/minimal.go"
		grammar = "scopes/grammar.go"
		here    = []string{"./scopes"}
	)
	return []Mutant{
		{
			"scopes: a prefix crosses the end of its segment", match,
			"\t\ti++\n\t\tj = segmentEnd(q, j)",
			"\t\ti++\n\t\tj = len(q)",
			here, "^TestAllows$",
		},
		{
			"scopes: the shorter prefix wins in an intersection", match,
			"bWild && len(a) >= len(b)",
			"bWild && len(a) <= len(b)",
			here, "^TestIntersect$",
		},
		{
			"scopes: ** matches no segment", match,
			`return i == len(p) || p[i:] == "*"`,
			`return i == len(p) || p[i:] == "*" || p[i:] == "/**"`,
			here, "^TestAllows$",
		},
		{
			"scopes: a literal covers the prefix that it spells", match,
			"\tif j < len(q) {\n\t\treturn false\n\t}\n\t// q has ended",
			"\tif j < len(q) {\n\t\treturn q[j:] == \"*\"\n\t}\n\t// q has ended",
			here, "^TestCovers$",
		},
		{
			"scopes: a union is taken for a cover with a length missing", union,
			"return s.tail && covered == s.allLengths()",
			"return s.tail && covered != 0",
			here, "^TestUnionCovers$",
		},
		{
			"scopes: a union is taken for a cover without its first length", union,
			"return s.tail && covered == s.allLengths()",
			"return s.tail && covered|1<<s.segments == s.allLengths()",
			here, "^TestUnionCovers$",
		},
		{
			"scopes: a union mixes actions", union,
			"u.segments == 0 || !u.sameTool(s) || !u.anyAction() && u.Action() != action",
			"u.segments == 0 || !u.sameTool(s) || action == \"\"",
			here, "^TestUnionCovers$",
		},
		{
			"scopes: every action of an unknown tool is covered", union,
			"return len(actions) > 0",
			"return true",
			here, "^TestUnionCovers$",
		},
		{
			"scopes: another tool's patterns take parts away", union,
			"u.reachesBeyond(p) && u.sameTool(p)",
			"u.reachesBeyond(p)",
			here, "^TestMinusIsEmptyIgnoresActionsAndKeepsTools$",
		},
		{
			"scopes: Overlaps ignores the action", scope,
			"return s.OverlapsResource(b) && (s.anyAction() || b.anyAction() || s.Action() == b.Action())",
			"return s.OverlapsResource(b)",
			here, "^TestIntersect$",
		},
		{
			"scopes: a request for any action escapes a named deny", scope,
			"(s.anyAction() || b.anyAction() || s.Action() == b.Action())",
			"(s.anyAction() || s.Action() == b.Action())",
			here, "^TestIntersect$",
		},
		{
			"scopes: a named action covers any action", scope,
			"(s.anyAction() || s.Action() == b.Action())",
			"(s.anyAction() || b.anyAction() || s.Action() == b.Action())",
			here, "^TestCovers$",
		},
		{
			"scopes: the tool is compared as a prefix", scope,
			"return s.tool == b.tool && s.text[:s.tool] == b.text[:b.tool]",
			"n := min(s.tool, b.tool)\n\treturn s.text[:n] == b.text[:n]",
			here, "^TestCovers$",
		},
		{
			"scopes: Allows trusts the resource to be canonical", set,
			"return isAccess(tool, action, resource)",
			"return true",
			here, "^TestAllows$",
		},
		{
			"scopes: a set that is too large is cut", minimal,
			`return nil, fmt.Errorf("%w: %d", ErrTooMany, len(kept))`,
			"kept = kept[:MaxSetScopes]",
			here, "^TestSetLimits$",
		},
		{
			"scopes: the minimal form takes in a length that nobody gave", minimal,
			"least := bits.Len64(^uint64(g.under(core, k)))",
			"least := bits.Len64(^uint64(g.under(core, k))) - 1",
			here, "^(TestSetIsMinimalAndSorted|TestEqualSetsHaveEqualText)$",
		},
		{
			"scopes: the minimal form mixes tools", minimal,
			"case len(wide) > 0 && wide[0].sameTool(first):",
			"case len(wide) > 0:",
			here, "^TestSetIsMinimalAndSorted$",
		},
		{
			"scopes: an encoded dot is a second name for a dot", grammar,
			"return c, !isLiteral(c)",
			"return c, true",
			here, "^TestParseRefuses$",
		},
		{
			"scopes: a byte outside ASCII is folded", grammar,
			"b >= 0x80",
			"b == 0xFF",
			here, "^TestFold$",
		},
	}
}
