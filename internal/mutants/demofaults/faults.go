// Package demofaults holds faults of the product, each with the step of `writ demo` that must
// notice it. A demo that holds with one of them in the broker would show nothing.
//
// No fault is in the demo itself, nor in the world that it starts: its checker stays as it is
// shipped. The cases of the shipped bundle run whenever it is loaded, so a fault of the policy
// that they show keeps the broker from starting; those here spare the cases, whose decisions
// have no UUID. The test, behind the build tag mutants, builds the whole binary with one fault
// after the other, by an overlay, and runs it:
//
//	go test -tags mutants -count=1 -v ./internal/mutants/demofaults
package demofaults

// A Fault is one change of one file of the product, and the step that must not hold then.
// No step before it may fail.
type Fault struct {
	Step     string // by its name in `writ demo`
	Name     string // what is broken
	File     string // from the module's root, with slashes
	Old, New string // Old must occur exactly once; the result must compile
}

// Steps are the names of the demo's steps, in order. Each has a fault at least.
func Steps() []string {
	return []string{"read", "write", "restricted", "delegation", "sub-agent", "revoke-parent", "revoke-role", "rotate", "audit"}
}

// All returns every fault, step by step.
func All() []Fault {
	const (
		exchange   = "broker/exchange.go"
		revoke     = "broker/revoke.go"
		decide     = "policy/decide.go"
		check      = "revocation/check.go"
		mint       = "mint/mint.go"
		middleware = "verifier/middleware.go"
	)
	return []Fault{
		{"read", "who sends no token is let through", middleware,
			"if refused != nil {\n\t\t\t\trefused.write(w, v.metadataURL)",
			"if refused != nil && r.Header.Get(\"Authorization\") != \"\" {\n\t\t\t\trefused.write(w, v.metadataURL)"},
		{"read", "a token is for somebody else too", mint,
			"Audience: g.Audience(),", `Audience: append(g.Audience(), "https://tickets.example.com"),`},

		{"write", "the action of a scope is not looked at", "scopes/set.go",
			"if scope.Tool() != tool || !scope.anyAction() && scope.Action() != action {",
			"if scope.Tool() != tool {"},
		{"write", "a refusal does not name the scope", "verifier/challenge.go",
			`add("scope", r.scope)`, `add("scope", "")`},
		{"write", "the life that was granted is not kept", mint,
			"Expiry: issued + int64(g.TTL()/time.Second),", "Expiry: issued + max(900, int64(g.TTL()/time.Second)),"},

		{"restricted", "what stands inside of a tag pattern is forgotten", "policy/split.go",
			"s.inside(k, node.children, base, literal, minus, combination)",
			"if len(s.st.r.ID) != 36 {\n\t\t\ts.inside(k, node.children, base, literal, minus, combination)\n\t\t}"},
		{"restricted", "a refusal names no decision", "httpapi/errors.go",
			"body.DecisionID = scope.DecisionID", `body.DecisionID = ""`},
		{"restricted", "a token for another audience opens the admin API", "broker/operator.go",
			"Issuer: b.cfg.Issuer, Audience: []string{b.cfg.Issuer}, Now: v.now,",
			"Issuer: b.cfg.Issuer, Audience: c.Audience, Now: v.now,"},
		{"restricted", "a decision's record has no trace", "broker/record.go",
			"e.Trace = &x.decision.Trace", "e.Trace = nil"},

		{"delegation", "the token does not say who acts", mint,
			"Actor: actor(g.Actors()),", "Actor: actor(nil),"},
		{"delegation", "what the person may do is not asked", decide,
			"if !st.granted(rw, who) {", "if !st.granted(rw, who) && (who > 0 || len(st.parties) == 1 || len(st.r.ID) != 36) {"},
		{"delegation", "the task is lost", mint,
			"Task: g.Task(),", `Task: "",`},

		{"sub-agent", "a token does not say what it descends from", mint,
			"Ancestors: in.Ancestors,", "Ancestors: nil,"},
		{"sub-agent", "a child outlives its parent", "policy/authorize.go",
			"limit = min(limit, r.Parent.Remaining)", "if len(r.ID) != 36 {\n\t\t\tlimit = min(limit, r.Parent.Remaining)\n\t\t}"},
		{"sub-agent", "a child may do more than its parent", decide,
			"if st.r.Parent.Scopes.Covers(s, nil) {", "if st.r.Parent.Scopes.Covers(s, nil) || true {"},
		{"sub-agent", "the chain keeps the last agent alone", mint,
			"out = &token.Actor{Subject: agent, Actor: out}", "out = &token.Actor{Subject: agent}"},

		{"revoke-parent", "the descendants of a token are spared", check,
			"for i := range c.Ancestors {\n\t\tif r, ok := q.tokenID(", "for i := range c.Ancestors[:0] {\n\t\tif r, ok := q.tokenID("},
		{"revoke-parent", "a token that was verified once is not looked up again", "verifier/verify.go",
			"if e.applied.Load() == generation {", "if e.applied.Load() != 0 {"},
		{"revoke-parent", "a dry run is not dry", revoke,
			"if !order.Apply {", "if order.Selector == \"\" {"},
		{"revoke-parent", "verifiers acknowledge nothing", "httpapi/feed.go",
			"if !a.cfg.Acks.Report(ack) {", "if a.cfg.Acks == nil {"},

		{"revoke-role", "roles are not looked at", check,
			"for _, v := range c.Roles {", "for _, v := range c.Roles[:0] {"},
		{"revoke-role", "the proof that a minter knew the rule is not accepted", check,
			"return !p.proven(&c.k.places, c.lines, c.rev)", "return p.proven(&c.k.places, c.lines, c.rev) || true"},
		{"revoke-role", "who may revoke tokens may revoke anything", revoke,
			"segments := []string{string(sel)}", `segments := []string{"token"}`},

		{"rotate", "a retired key is not published any more", "keys/open.go",
			"public = append(public, key)", "if k.Stage != StageRetired {\n\t\t\t\t\tpublic = append(public, key)\n\t\t\t\t}"},
		{"rotate", "the next key is not published before it signs", "keys/open.go",
			"public = append(public, key)", "if k.Stage != StageNext {\n\t\t\t\t\tpublic = append(public, key)\n\t\t\t\t}"},
		{"rotate", "the order to rotate is not carried out", "broker/keys.go",
			"b.cfg.Keys.RotateNow(ctx, order.Revoke)", "b.cfg.Keys.RotateNow(ctx, b.cfg.Keys.Ring().Keys()[1].ID)"},

		{"audit", "a credential leaves without a record", exchange,
			"if err := x.record(ctx, claims, kid); err != nil {", "if err := error(nil); err != nil {"},
		{"audit", "a record does not hold to the one before it", "audit/line.go",
			"h.hash = hashLine(dst[start : len(dst)-1])", "h.hash = hashLine(dst[start : len(dst)-2])"},
		{"audit", "a tail that is cut off is not missed", "audit/verify.go",
			"if beyond > 0 {", "if beyond > v.head.seq+1<<62 {"},
		{"audit", "a revocation is not recorded", revoke,
			"out.AuditFault = b.recordRule(ctx, op, audit.KindRevocation, &rule, out.Result)", "out.AuditFault = nil"},
		{"audit", "checkpoints do not leave the broker", "cmd/writ/internal/app/audit.go",
			"a.outside.put(c)", "_ = a.outside"},
	}
}
