package mutants

// denies breaks how AWS sessions are taken back: whom AWS denies, for how long, and whether it
// goes on doing so.
func denies() []Mutant {
	revoker, here := []string{"./mint/awssts/revoker"}, []string{"./broker"}
	return []Mutant{
		{
			"denies: a role is looked at until it is right once", "mint/awssts/revoker/run.go",
			"done := at.settled && len(at.at.entries) == 0 && !r.anyLive(arn)", "done := at.settled",
			revoker, "^TestFiftyWriters$",
		},
		{
			"denies: one clean look is done", "mint/awssts/revoker/run.go",
			"now.Sub(at.cleanAt) >= r.cfg.Settle", "now.Sub(at.cleanAt) >= 0",
			revoker, "^TestDoneHasStayed$",
		},
		{
			"denies: what a replica noted is its own matter", "mint/awssts/revoker/revoker.go",
			"if intact && !theirs.join(mine, now) {", "if intact {",
			revoker, "^TestAnotherReplicaRepairs$",
		},
		{
			"denies: a forged plan stops all", "mint/awssts/revoker/revoker.go",
			"\t\tintact = false\n", "\t\treturn err\n",
			revoker, "^TestStoreAwayOrForged$",
		},
		{
			"denies: a role of the name in another account will do", "mint/awssts/revoker/role.go",
			"aws.ToString(out.Role.Arn) != role", "aws.ToString(out.Role.Arn) == \"\"",
			revoker, "^TestFaultsAreNamed$",
		},
		{
			"denies: the role's other policies take no room", "mint/awssts/revoker/role.go",
			"size += Size(document)", "size += 0 * Size(document)",
			revoker, "^TestLiftNarrowsWhatWasWidened$",
		},
		{
			"denies: a lift takes what another rule asks for", "mint/awssts/revoker/plan.go",
			"\t\tcase p.stands(d):\n", "\t\tcase len(p.Lifted) == 0:\n",
			revoker, "^TestLift$",
		},
		{
			"denies: a lifted rule's denies stay in the policy", "mint/awssts/revoker/role.go",
			"slices.ContainsFunc(w.lifted, e.Holds)", "slices.Contains([]denylist.Entry(nil), e)",
			revoker, "^TestLift$",
		},
		{
			"denies: a lift elsewhere is not looked at", "mint/awssts/revoker/run.go",
			"slices.Contains(lifted, d.Rule)", "slices.Contains(lifted, d.Rule) && d.Rule == \"\"",
			revoker, "^TestLiftedElsewhere$",
		},
		{
			"denies: a lift needs no look at the sessions", "broker/aws_revoke.go",
			"\tif missing == sessionsUnread {\n", "\tif missing == \"?\" {\n",
			here, "^TestALiftWaitsForALookAtTheSessions$",
		},
		{
			"denies: a lift finds what another look has found", "broker/aws_revoke.go",
			"if !changed && len(lifted) == 0 {", "if !changed {",
			here, "^TestALiftWaitsForALookAtTheSessions$",
		},
		{
			"denies: spent denies stay", "mint/awssts/revoker/run.go",
			"len(at.at.entries) == 0 && !r.anyLive(arn)", "!r.anyLive(arn)",
			revoker, "^TestFiftyWriters$",
		},
		{
			"denies: the cutoff is the rule's own time", "broker/aws_revoke.go",
			"r.CreatedAt.Add(b.cfg.Limits.MaxStaleness + 2*b.cfg.Limits.Skew)", "r.CreatedAt.Add(b.cfg.Limits.Skew)",
			here, "^TestLateSessionsAreDenied$",
		},
		{
			"denies: late sessions are not looked for", "broker/aws_revoke.go",
			"byRule[hit.RuleID] = append(byRule[hit.RuleID], *s)", "byRule[hit.RuleID] = nil",
			here, "^TestLateSessionsAreDenied$",
		},
		{
			"denies: an agent falls with one of those it acts for", "broker/aws_revoke.go",
			"s.Claims.ClientID == r.Value && ", "",
			here, "^TestRevokingDeniesAtAWS$",
		},
		{
			"denies: more identities than have room", "broker/aws_revoke.go",
			"ok && len(out) <= maxNarrow {", "ok && len(out) <= 10*maxNarrow {",
			here, "^TestManySessionsAreTheWholeRole$",
		},
		{
			"denies: many sessions of one agent take those of others", "broker/aws_revoke.go",
			"ok && len(out) <= maxNarrow {", "ok && len(out) < 1 {",
			here, "^TestWhatAnAgentGivesBackLeavesOthersTheirs$",
		},
		{
			"denies: names without room are the whole role", "mint/awssts/denylist/denylist.go",
			"if n > max(1, names[most])", "if n > 1<<20",
			[]string{"./mint/awssts/denylist"}, "^TestWidenedToIdentities$",
		},
		{
			"denies: many names are the whole role", "mint/awssts/revoker/plan.go",
			"if n <= maxRole || len(sessions[identity]) < 2 {", "if n > 0 {",
			here, "^TestWhatAnAgentGivesBackAgainAndAgainLeavesOthersTheirs$",
		},
		{
			"denies: what nobody has looked at yet is given out", "broker/aws.go",
			"if x.cfg.Revoker == nil || x.due.sawAll(x.cfg.Index.Changes()) {", "if x.cfg.Revoker == nil || c != nil {",
			here, "^TestNoSessionsBeforeALook$",
		},
		{
			"denies: what the revoker does not know yet is given out", "broker/aws_revoke.go",
			"d.found = d.changes", "d.found, d.seen = d.changes, d.changes",
			here, "^TestNoSessionsBeforeTheRevokerKnowsWhatALookFound$",
		},
		{
			"denies: a dry run writes", "broker/revoke.go",
			"out.AWS, _ = b.takenBack(&rule, out.Preview.hit)", "out.AWS, _ = b.denyAtAWS(ctx, &rule, out.Preview.hit)",
			here, "^TestADryRunTellsAWSNothing$",
		},
		{
			"denies: a session leaves that AWS denies already", "broker/aws.go",
			"if !issued.Before(cutoff) {", "if issued.Before(cutoff) {",
			here, "^TestNoSessionsThatACutoffCatches$",
		},
		{
			"denies: what a policy says beyond the plan is not known", "mint/awssts/revoker/cutoff.go",
			"at := r.role(arn)\n\t\tc.add(now, at.at.entries...)\n\t\tc.add(now, at.writing...)\n", "_, _ = arn, c\n",
			here, "^TestNoSessionsThatAWidenedDenyCatches$",
		},
		{
			"denies: another replica's rule is not looked at", "broker/aws.go",
			"b.cfg.Revoker.Wake()", "_ = b.cfg.Revoker.Wake",
			here, "^TestNoSessionsThatAnotherReplicasDenyCatches$",
		},
		{
			"denies: a session that AWS denies is kept", "broker/aws.go",
			"return !hit && !s.Issued.Before(b.deniedBefore(s.Role, s.SourceIdentity))", "return !hit",
			here, "^TestDeniedWhileSTSIsAsked$",
		},
		{
			"denies: after the clock went back nobody looks", "mint/awssts/revoker/run.go",
			" || next.Sub(began) > 2*r.cfg.Every", "",
			revoker, "^TestThePaceOfLooks$",
		},
		{
			"denies: a replica that starts forgets what is denied", "mint/awssts/revoker/cutoff.go",
			"r.plan.join(shared, r.cfg.Now())\n", "_ = shared\n",
			revoker, "^TestAReplicaThatStartsKnowsTheCutoffs$",
		},
		{
			"denies: STS is asked for what AWS denies already", "broker/aws.go",
			"order.Allow = func(", "_ = func(",
			here, "^TestNoSessionsThatACutoffCatches$",
		},
		{
			"denies: what AWS denies since STS was asked leaves", "broker/aws.go",
			"x.deniedAtAWS(s.Role, s.SourceIdentity, s.Issued)", "nil",
			here, "^TestDeniedWhileSTSIsAsked$",
		},
	}
}
