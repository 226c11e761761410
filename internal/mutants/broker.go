package mutants

// broker breaks the binding of subject and agent, the order of check, stamp, record and
// answer, and what strangers may learn or do.
func broker() []Mutant {
	here, wire := []string{"./broker"}, []string{"./httpapi"}
	return []Mutant{
		{
			"broker: leaving out the actor sheds the act claim", "broker/parties.go",
			"for _, id := range act.Chain() {",
			"if actor == nil {\n\t\tact = nil\n\t}\n\tfor _, id := range act.Chain() {",
			here, "^TestDelegationCannotBeShed$",
		},
		{
			"broker: may_act binds only whoever sends an actor", "broker/parties.go",
			"if mayAct != nil && (len(p.actors) == 0 || ",
			"if mayAct != nil && len(p.actors) > 0 && (",
			here, "^TestMayActBinds$",
		},
		{
			"broker: may_act that names nobody lets anybody act", "broker/parties.go",
			`mayAct.Subject == "" || p.actors[0].ID != mayAct.Subject`,
			`mayAct.Subject != "" && p.actors[0].ID != mayAct.Subject`,
			here, "^TestMayActBinds$",
		},
		{
			"broker: a delegated token proves an actor", "broker/proofs.go",
			"if proof.Actor != nil || proof.MayAct != nil || proof.ClientID != proof.Subject {",
			"if proof.MayAct != nil {",
			here, "^TestADelegatedTokenIsNoActor$",
		},
		{
			"broker: an actor's token of ours is no ancestor", "broker/proofs.go",
			"\tp.own = append(p.own, proof)\n", "",
			here, "^(TestATokenOfOursAsActorGivesNoMoreThanItself|TestRevokedTokensOfOurs)$",
		},
		{
			"broker: only the parent is an ancestor", "broker/parties.go",
			"append([]token.Ancestor{{ID: o.ID, KeyID: o.kid}}, o.Ancestors...)",
			"[]token.Ancestor{{ID: o.ID, KeyID: o.kid}}",
			here, "^(TestASubAgent|TestChainsAreCapped)$",
		},
		{
			"broker: a person's token by client_credentials is a workload's", "broker/exchange.go",
			"if x.subject.Kind != identity.KindUser || len(x.actors) > 0 {",
			"if x.subject.Kind != identity.KindUser || len(x.actors) > 0 || x.req.ClientCredentials {",
			here, "^TestAPersonWithoutAnAgent$",
		},
		{
			"broker: rev is stamped late", "broker/exchange.go",
			"Signer: x.ring.Active(), Rev: x.rev,",
			"Signer: x.ring.Active(), Rev: x.cfg.Index.Position(),",
			here, "^TestARuleBetweenCheckAndStamp$",
		},
		{
			"broker: a revoked parent still mints", "broker/proofs.go",
			"if _, hit := b.cfg.Index.Revoked(c, kid); hit {",
			"if _, hit := b.cfg.Index.Revoked(c, kid); hit && kid == \"\" {",
			here, "^TestRevokedTokensOfOurs$",
		},
		{
			"broker: a workload's old token outlives the rule on it", "broker/proofs.go",
			"\treturn p, b.refusesForeign(p, sentinel)\n", "\treturn p, nil\n",
			here, "^TestForeignTokensFromBeforeARule$",
		},
		{
			"broker: quarantine looks at the subject alone", "broker/parties.go",
			"b.cfg.Index.Quarantined(p.ids()...)",
			"b.cfg.Index.Quarantined(p.subject.ID)",
			here, "^TestQuarantine$",
		},
		{
			"broker: a token leaves before its record", "broker/exchange.go",
			"\tif err := x.record(ctx, claims, kid); err != nil {\n\t\treturn nil, err\n\t}\n",
			"\t_ = x.record(ctx, claims, kid)\n",
			here, "^TestNoTokenLeavesUnrecorded$",
		},
		{
			"broker: a stale list is trusted", "broker/broker.go",
			"if b.cfg.Recorder.Staleness(now) <= b.cfg.Limits.MaxStaleness {",
			"if b.cfg.Recorder.Staleness(now) >= 0 {",
			here, "^TestStaleListRefuses$",
		},
		{
			"broker: a bound token is a bearer token", "broker/proofs.go",
			"return c.JKT == \"\" && c.X5tS256 != \"\" && c.X5tS256 == thumbprint",
			"return c.JKT == \"\"",
			here, "^TestBoundTokens$",
		},
		{
			"broker: a token made for a resource server administrates", "broker/operator.go",
			"Issuer: b.cfg.Issuer, Audience: []string{b.cfg.Issuer}, Now: v.now,",
			"Issuer: b.cfg.Issuer, Audience: c.Audience, Now: v.now,",
			[]string{"./broker", "./httpapi"}, "^(TestAuthorize|TestFeedRefuses)$",
		},
		{
			"broker: introspection ignores the caller's tool", "broker/introspect.go",
			"if o.Allows(s.Action(), s.Resource()) {",
			"if o.ID != \"\" {",
			here, "^TestIntrospect$",
		},
		{
			"broker: whoever holds a token may revoke it", "broker/revoke.go",
			"if !isParty(c, op) {", "if false && !isParty(c, op) {",
			here, "^TestRevokeToken$",
		},
		{
			"broker: a repeated revocation is a rule each time", "broker/revoke.go",
			"hit.Value == c.ID {", "hit.Value == c.ID && false {",
			here, "^TestRevokeToken$",
		},
		{
			"httpapi: a repeated parameter counts once", "httpapi/form.go",
			"if len(list) > 1 && !repeatable[name] {", "if len(list) > 9 && !repeatable[name] {",
			wire, "^TestTokenEndpointRefuses$",
		},
		{
			"httpapi: the text of an unknown error is shown", "httpapi/errors.go",
			`Description: "the broker could not answer; its log says why",`,
			"Description: description(err),",
			wire, "^TestUnknownErrorsSayNothing$",
		},
		{
			"httpapi: an answer repeats a token that was sent in the wrong place", "httpapi/errors.go",
			"	}, token.Redact(err.Error()))", "	}, err.Error())",
			[]string{"./cmd/writ/internal/leaks"}, "^TestNothingSecretIsWritten$",
		},
		{
			"broker: a token becomes the value of a rule", "broker/revoke.go",
			"if token.Holds(order.Value) {", "if token.Holds(order.Value) && order.Value == \"\" {",
			[]string{"./cmd/writ/internal/leaks"}, "^TestNothingSecretIsWritten$",
		},
		{
			"httpapi: a JWKS without the next key is served", "httpapi/metadata.go",
			"if ring.Lacks() {", "if ring.Lacks() && ring.Version() == 0 {",
			wire, "^TestAJWKSThatLacksTheNextKeyIsNotServed$",
		},
		{
			"httpapi: a feed outlives its reader's right", "httpapi/feed.go",
			"\t\t\tif err := a.stillAllowed(ctx, who); err != nil {\n\t\t\t\treturn a.lastWords(ctx, out, sub, err)\n\t\t\t}\n", "",
			wire, "^TestFeedEndsWithItsRight$",
		},
		{
			"httpapi: a reader is cut off before the rule that does it", "httpapi/feed.go",
			"return a.lastWords(ctx, out, sub, err)", "return err",
			wire, "^TestFeedEndsAfterTheRuleThatEndsIt$",
		},
		{
			"httpapi: anybody acknowledges for a verifier", "httpapi/feed.go",
			`return op.Agent + " " + id`, "_ = op\n\treturn id",
			wire, "^TestAcks$",
		},
		{
			"httpapi: a write's deadline outlives the write", "httpapi/feed.go",
			"return f.rc.SetWriteDeadline(time.Time{})", "return nil",
			wire, "^TestFeedOutlivesTheServersTimeouts$",
		},
		{
			"httpapi: a heartbeat overtakes what it speaks of", "httpapi/feed.go",
			"\tif err := a.drain(out, sub); err != nil {\n\t\treturn err\n\t}\n\tbuf", "\tbuf",
			wire, "^TestAHeartbeatComesAfterWhatItSpeaksOf$",
		},
		{
			"httpapi: a certificate alone administrates", "httpapi/admin.go",
			`if cred.Bearer, err = bearer(r); err == nil && cred.Bearer == "" {`,
			`if cred.Bearer, err = bearer(r); err == nil && cred.Bearer == "" && r.TLS == nil {`,
			wire, "^TestACertificateAloneAdministratesNothing$",
		},
		{
			"httpapi: break glass gives back what was taken", "httpapi/admin.go",
			"\ta.revocationRoutes(mux, who)\n\ta.health(mux)\n",
			"\ta.adminRoutes(mux, who)\n\ta.health(mux)\n",
			wire, "^TestBreakGlass$",
		},
	}
}
