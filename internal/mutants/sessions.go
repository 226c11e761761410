package mutants

// sessions breaks what AWS credentials are worth: whose they are, how long they last, who gets
// those that are kept, and what AWS must never be shown.
func sessions() []Mutant {
	minter, here, wire := []string{"./mint/awssts"}, []string{"./broker"}, []string{"./httpapi"}
	return []Mutant{
		{
			"sessions: a short grant lasts as long as STS gives", "mint/awssts/minter.go",
			"opt.Until = r.ends", "_ = r.ends",
			minter, "^TestAShortGrantEndsWhenItEnds$",
		},
		{
			"sessions: a slow STS gives more than was granted", "mint/awssts/minter.go",
			"!r.held && over > slowSTS", "false && over > slowSTS",
			minter, "^TestASlowSTSGivesNoMore$",
		},
		{
			"sessions: a leaked key takes back what the ledger knows alone", "broker/aws_revoke.go",
			"if r.Selector != revocation.SelectKey || b.cfg.AWS == nil {", "if true {",
			here, "^TestALeakedKeyTakesTheWholeRoleBack$",
		},
		{
			"sessions: the answer says the end that STS gave", "mint/awssts/minter.go",
			"if a.expires.Before(s.Expires) {", "if !a.expires.IsZero() {",
			minter, "^TestAShortGrantEndsWhenItEnds$",
		},
		{
			"sessions: time that passed since the grant counts twice", "mint/awssts/minter.go",
			"left := r.ends.Sub(m.cfg.Now())", "left := r.ends.Sub(o.IssuedAt())",
			minter, "^TestAShortGrantEndsWhenItEnds$",
		},
		{
			"sessions: the proof for STS has the type of an access token", "mint/awssts/call.go",
			`const proofType = "JWT"`, `const proofType = token.TypeAccessToken`,
			minter, "^TestWebIdentity$",
		},
		{
			"sessions: another subject's session is served", "mint/awssts/sessions.go",
			"c.Issuer, c.Subject, c.ClientID,", "c.Issuer, c.ClientID,",
			minter, "^TestSessionsAreNotShared$",
		},
		{
			"sessions: another task's session is served", "mint/awssts/sessions.go",
			"c.Scope.String(), c.Task, o.Bundle.Version(),", "c.Scope.String(), o.Bundle.Version(),",
			minter, "^TestSessionsAreNotShared$",
		},
		{
			"sessions: another policy's session is served", "mint/awssts/sessions.go",
			"c.Scope.String(), c.Task, o.Bundle.Version(),", "c.Scope.String(), c.Task,",
			minter, "^TestSessionsAreNotShared$",
		},
		{
			"sessions: another role's session is served", "mint/awssts/sessions.go",
			"string(s.cfg.Minter.cfg.Mode), role, c.Issuer,", "string(s.cfg.Minter.cfg.Mode), c.Issuer,",
			minter, "^TestSessionsAreNotShared$",
		},
		{
			"sessions: another parent's session is served", "mint/awssts/sessions.go",
			"\t\tput(h, a.ID)\n", "",
			minter, "^TestSessionsAreNotShared$",
		},
		{
			"sessions: parts of a key run together", "mint/awssts/sessions.go",
			"\tputInt(h, len(text))\n", "",
			minter, "^TestSessionsAreNotShared$",
		},
		{
			"sessions: a kept session outlives the grant", "mint/awssts/sessions.go",
			"session.Claims.Expiry <= o.Claims().Expiry && ", "",
			minter, "^TestWhenAKeptSessionServes$",
		},
		{
			"sessions: a kept session is not asked about", "mint/awssts/sessions.go",
			"o.Alive != nil && o.Alive(session)", "o.Alive != nil",
			minter, "^TestWhenAKeptSessionServes$",
		},
		{
			"sessions: a kept session is served to its end", "mint/awssts/sessions.go",
			"return min(advisory, session.Expires.Sub(session.Issued)/2)", "return 0",
			minter, "^TestWhenAKeptSessionServes$",
		},
		{
			"sessions: who waits takes what was revoked", "mint/awssts/sessions.go",
			"if s.serves(f.session, o, 0) {", "if f.session != nil {",
			minter, "^TestRevokedWhileOthersWait$",
		},
		{
			"sessions: who leaves ends the call for others", "mint/awssts/sessions.go",
			"s.make(context.WithoutCancel(ctx), c, role, o)", "s.make(ctx, c, role, o)",
			minter, "^TestOneCallForMany$",
		},
		{
			"sessions: what the broker's own credentials are is not asked", "mint/awssts/minter.go",
			"m.cfg.Mode == AssumeRole && m.chained(ctx)", "false",
			minter, "^TestRoleChaining$",
		},
		{
			"sessions: STS is asked for ever", "mint/awssts/gate.go",
			"if b.failures < failuresToOpen {", "if b.failures >= 0 {",
			minter, "^TestBreaker$",
		},
		{
			"sessions: a token for AWS is taken back in", "broker/proofs.go",
			"if slices.ContainsFunc(c.Audience, b.isReserved) {", "if slices.ContainsFunc(c.Audience, b.isReserved) && c.Subject == \"\" {",
			here, "^TestTheReservedAudience$",
		},
		{
			"sessions: a rule that came while STS was asked is not seen", "broker/aws.go",
			"return x.stillborn(s.Claims, s.KeyID)", "return nil",
			here, "^TestRevokedWhileSTSIsAsked$",
		},
		{
			"sessions: the ledger does not learn of a session", "broker/aws.go",
			"order.Note = x.ledger.Session", "order.Note = nil",
			here, "^TestRevokedWhileSTSIsAsked$",
		},
		{
			"sessions: a session is noted while others get it", "mint/awssts/sessions.go",
			"\t\to.Note(ctx, session)\n", "\t\tgo o.Note(ctx, session)\n",
			minter, "^TestASessionIsNotedBeforeAnybodyGetsIt$",
		},
		{
			"sessions: a short one at MinIO goes on after its grant", "mint/awssts/call.go",
			"return m.cfg.Plain && r.held", "return false",
			minter, "^TestAShortSessionAtMinIOEndsWithItsProof$",
		},
		{
			"sessions: a proof for MinIO outlives its call", "mint/awssts/call.go",
			"return m.cfg.Plain && r.held", "return m.cfg.Plain",
			minter, "^TestAShortSessionAtMinIOEndsWithItsProof$",
		},
		{
			"sessions: what is bound to a key buys what is not", "broker/aws.go",
			"if o.Confirmation != nil {", "if o.Confirmation != nil && o.ID == \"\" {",
			here, "^TestRequestsForAWSThatAreRefused$",
		},
		{
			"sessions: credentials leave without a record", "broker/aws.go",
			"if err := x.recordSession(ctx, s, fresh); err != nil {", "if err := x.recordSession(ctx, s, fresh); err != nil && fresh {",
			here, "^TestNoCredentialsWithoutARecord$",
		},
		{
			"sessions: a dead session stays in memory", "broker/aws.go",
			"b.swept.Swap(now) != now", "b.swept.Swap(now) == now+1",
			here, "^TestRevokedSessionsAreNotServed$",
		},
		{
			"sessions: replicas do not learn the parents of a session", "broker/ledger_sessions.go",
			"c.Ancestors = append(c.Ancestors, token.Ancestor{ID: a[0], KeyID: a[1]})", "_ = a",
			here, "^TestReplicasShareSessions$",
		},
		{
			"sessions: somebody acting for another gets container credentials", "httpapi/aws.go",
			"ClientCredentials: true, Self: true,", "ClientCredentials: true,",
			wire, "^TestContainerCredentialsAreForTheWorkloadItself$",
		},
		{
			"sessions: any Host is loopback", "httpapi/aws.go",
			"!addr.IsLoopback() || !isOwnHost(r)", "!addr.IsLoopback()",
			wire, "^TestContainerCredentialsAgainstDNSRebinding$",
		},
		{
			"sessions: credentials cross the network in the clear", "httpapi/aws.go",
			"!addr.IsLoopback() || !isOwnHost(r)", "!isOwnHost(r) && addr.IsLoopback()",
			wire, "^TestContainerCredentialsNeedAPrivateWay$",
		},
		{
			"sessions: what a proxy passed on is local", "httpapi/aws.go",
			`if r.Header.Get(passed) != "" {`, `if r.Header.Get(passed) == "-" {`,
			wire, "^TestContainerCredentialsNeedAPrivateWay$",
		},
	}
}
