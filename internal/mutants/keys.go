package mutants

// keys breaks what a rotation must not lose: live tokens, the newest ring, and the end of a key
// that leaked.
func keys() []Mutant {
	return []Mutant{
		{
			Name: "keys: a key is dropped while its tokens may live", File: "keys/schedule.go",
			Old:      "return s.MaxTTL + s.lag() + 5*s.Skew",
			New:      "return s.MaxTTL",
			Packages: []string{"./keys"}, Run: "^TestFleet$",
		},
		{
			Name: "keys: an older ring is taken", File: "keys/read.go",
			Old:      "if state.Version <= r.known.Version && ours {",
			New:      "if false {",
			Packages: []string{"./keys"}, Run: "^TestAStoreThatLiesIsRefused$",
		},
		{
			Name: "keys: a scheduled rotation waits for nobody", File: "keys/await.go",
			Old:      "if (len(lacking.Behind) == 0 && !unsettled) || ",
			New:      "if true || unsettled || ",
			Packages: []string{"./keys"}, Run: "^TestActivationWaitsForVerifiers$",
		},
		{
			Name: "keys: one verifier can stop rotation for ever", File: "keys/await.go",
			Old:      " || !now.Before(wait.Until) {",
			New:      " {",
			Packages: []string{"./keys"}, Run: "^TestActivationWaitsNoLongerThanItMay$",
		},
		{
			Name: "keys: an emergency waits for verifiers", File: "keys/emergency.go",
			Old:      "\tr.pending = append(r.pending, in)\n",
			New:      "\tif r.cfg.Lacking == nil || len(r.cfg.Lacking(before.active.KeyID()+\"?\").Behind) == 0 {\n\t\tr.pending = append(r.pending, in)\n\t}\n",
			Packages: []string{"./keys"}, Run: "^TestAnEmergencyWaitsForNobody$",
		},
		{
			Name: "keys: a replica that has just started takes nobody connected for nobody behind", File: "keys/await.go",
			Old:      "unsettled := now.Before(r.began.Add(settling))",
			New:      "unsettled := false",
			Packages: []string{"./keys"}, Run: "^TestAReplicaThatHasJustStartedWaits$",
		},
		{
			Name: "keys: one clock that is off is not allowed for", File: "keys/schedule.go",
			Old:      "return s.MaxTTL + s.lag() + 5*s.Skew",
			New:      "return s.MaxTTL + s.lag() + 4*s.Skew",
			Packages: []string{"./keys"}, Run: "^TestScheduleRefusesWhatIsNotSafe$",
		},
		{
			Name: "keys: what clocks are off by is forgotten", File: "keys/schedule.go",
			Old:      "return s.JWKSMaxAge + s.lag() + 2*s.Skew",
			New:      "return s.JWKSMaxAge + s.lag()",
			Packages: []string{"./keys"}, Run: "^(TestPlan|TestScheduleRefusesWhatIsNotSafe)$",
		},
		{
			Name: "keys: a ring below the anchor is taken", File: "keys/anchor.go",
			Old:      "if version >= anchored {",
			New:      "if true {",
			Packages: []string{"./keys"}, Run: "^TestANewReplicaRefusesAStoreThatWentBack$",
		},
		{
			Name: "keys: an old backup is put back", File: "keys/read.go",
			Old:      "ours := r.known.Version > 0 && r.known.Version >= anchored",
			New:      "ours := r.known.Version > 0",
			Packages: []string{"./keys"}, Run: "^TestAnOldBackupIsNotPutBack$",
		},
		{
			Name: "keys/vault: what is sealed is not bound to its state", File: "keys/vault/sealing.go",
			Old:      "strconv.FormatUint(born, 10)}",
			New:      "strconv.FormatUint(0*born, 10)}",
			Packages: []string{"./keys/vault"}, Run: "^TestConformance$",
		},
		{
			Name: "keys/vault: a version signs before it is published", File: "keys/vault/signing.go",
			Old:      "body := signInput{KeyVersion: version,",
			New:      "body := signInput{KeyVersion: 0 * version,",
			Packages: []string{"./keys/vault"}, Run: "^TestCases$",
		},
		{
			Name: "keys/vault: a token goes where an answer sends it", File: "keys/vault/client.go",
			Old:      "return http.ErrUseLastResponse",
			New:      "return nil",
			Packages: []string{"./keys/vault"}, Run: "^TestNoRedirectIsFollowed$",
		},
		{
			Name: "keys: an older ring is taken at a start", File: "keys/read.go",
			Old:      "if state.Version <= r.known.Version && ours {",
			New:      "if false {",
			Packages: []string{"./cmd/writ/internal/app"}, Run: "^TestSiegeReplay$/^the_key_ring_before_the_key_leaked_to_stopped$",
		},
		{
			Name: "keys: a machine that slept signs on", File: "keys/rotator.go",
			Old:      "max(now.Sub(at), now.Round(0).Sub(at.Round(0)), 0)",
			New:      "max(now.Sub(at), 0)",
			Packages: []string{"./keys"}, Run: "^TestNoClockMakesAnOldRingFresh$",
		},
		{
			Name: "keys: a write that came late is dated early", File: "keys/slip.go",
			Old:      "*stamp = stamp.Add(s.by)",
			New:      "*stamp = stamp.Add(0)",
			Packages: []string{"./keys"}, Run: "^TestAWriteThatCameLateCountsFromThen$",
		},
		{
			Name: "keys: a leaked key stays published", File: "keys/emergency.go",
			Old:      "state, changed = state.without(in.revoke), true",
			New:      "changed = true",
			Packages: []string{"./keys"}, Run: "^TestRotateNowRevokes$",
		},
		{
			Name: "keys: an emergency waits for custody", File: "keys/rotator.go",
			Old:      "if len(r.pending)+len(r.slips) > 0 && len(state.Keys) > 0 {",
			New:      "if len(r.slips) > 0 && len(state.Keys) > 0 {",
			Packages: []string{"./keys"}, Run: "^TestEmergencyDoesNotWaitForCustody$",
		},
		{
			Name: "keys: a key signs as soon as it exists", File: "keys/plan.go",
			Old:      "if now.Before(due) {",
			New:      "if false {",
			Packages: []string{"./keys"}, Run: "^TestADayInAMinute$",
		},
		{
			Name: "keys: a key signs when a rotation is due, published long enough or not", File: "keys/plan.go",
			Old:      "return later(active.Activated.Add(sched.RotateEvery), next.Published.Add(sched.Prepublish))",
			New:      "_ = next\n\treturn active.Activated.Add(sched.RotateEvery)",
			Packages: []string{"./keys"}, Run: "^TestADayInAMinute$",
		},
		{
			Name: "keys: a retired key is dropped at once", File: "keys/plan.go",
			Old:      "case now.Before(k.gone(sched)):",
			New:      "case false:",
			Packages: []string{"./keys"}, Run: "^TestADayInAMinute$",
		},
		{
			Name: "keys: a key retires for less than its tokens live", File: "keys/plan.go",
			Old:      "return later(k.DropAfter, k.Retired.Add(sched.RetireAfter))",
			New:      "return k.Retired.Add(sched.MaxTTL)",
			Packages: []string{"./keys"}, Run: "^TestADayInAMinute$",
		},
		{
			Name: "keys: a replica that lost touch signs on", File: "keys/open.go",
			Old:      "if !f.rotator.Fresh() {",
			New:      "if !f.rotator.Fresh() && f.Signer == nil {",
			Packages: []string{"./keys"}, Run: "^TestADayInAMinute$",
		},
	}
}
