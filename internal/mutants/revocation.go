package mutants

// revocation breaks what decides whether a token has been taken back.
func revocation() []Mutant {
	const (
		index   = "./revocation"
		journal = "./revocation/journal"
		roll    = "./revocation/roll"
	)
	return []Mutant{
		{
			Name: "revocation: tokens are compared by clock", File: "revocation/check.go",
			Old: `	return q.k.hit(r), true
}

func (q *check) revoked(`,
			New: `	if h := q.k.hit(r); c.IssuedAt > h.CreatedAt.Unix() {
		return nil, false
	}
	return q.k.hit(r), true
}

func (q *check) revoked(`,
			Packages: []string{journal}, Run: "TestSimulation",
		},
		{
			Name: "revocation: lineages are ordered by clock", File: "revocation/lineage.go",
			Old:      `			if b.line == p.line && p.seq <= b.seq {`,
			New:      `			if b.line == p.line || l.info(p.line).OpenedAt.Before(info.OpenedAt) {`,
			Packages: []string{journal}, Run: "TestTwoWriters|TestTailLost",
		},
		{
			Name: "revocation: a lineage is kept after a failover", File: "revocation/lineage.go",
			Old:      `			if b.line == p.line && p.seq <= b.seq {`,
			New:      `			if b.line == p.line {`,
			Packages: []string{journal}, Run: "TestTailLostInAFailover",
		},
		{
			Name: "revocation: numbers are compared across lineages", File: "revocation/lineage.go",
			Old: `	if p.line == line {
		return p.seq <= seq
	}`,
			New: `	if p.seq <= seq {
		return true
	}`,
			Packages: []string{journal}, Run: "TestTwoWriters",
		},
		{
			Name: "revocation: an unknown lineage proves", File: "revocation/lineage.go",
			Old: `	if line == 0 {
		return false
	}
	if l.covers`,
			New: `	if line == 0 {
		return true
	}
	if l.covers`,
			Packages: []string{index}, Run: "TestIndexIsTheModel",
		},
		{
			Name: "roll: what others hold is not waited for", File: "revocation/journal/follow.go",
			Old:      `j.position())); since.Before(at) {`,
			New:      `j.position())); false {`,
			Packages: []string{journal}, Run: "TestSimulation",
		},
		{
			Name: "roll: a mark counts from when it was read", File: "revocation/roll/others.go",
			Old:      `	at := r.before(m.Saw[r.cfg.Replica])`,
			New:      `	at := now`,
			Packages: []string{journal, roll}, Run: "TestSimulation|TestAttackerWithTheStore",
		},
		{
			Name: "roll: a mark counts in any lineage", File: "revocation/roll/others.go",
			Old: `o.at.Lineage != at.Lineage || o.at.Seq > at.Seq`, New: `o.at.Seq > at.Seq`,
			Packages: []string{roll}, Run: "TestAnotherLineageSaysNothing|TestALongRound",
		},
		{
			Name: "roll: a mark counts for a log that is shorter", File: "revocation/roll/others.go",
			Old: `o.at.Lineage != at.Lineage || o.at.Seq > at.Seq`, New: `o.at.Lineage != at.Lineage`,
			Packages: []string{roll}, Run: "TestATailThatIsWithheld",
		},
		{
			Name: "roll: silence is measured by now", File: "revocation/roll/others.go",
			Old: `	return until.Sub(last) > r.cfg.Absence`, New: `	return r.cfg.Now().Sub(last) > r.cfg.Absence`,
			Packages: []string{roll}, Run: "TestALongRound",
		},
		{
			Name: "roll: a store that takes no writes is silence", File: "revocation/roll/others.go",
			Old: `	if r.wrote.Before(until) {`, New: `	if false {`,
			Packages: []string{roll}, Run: "TestAStoreThatTakesNoWrites",
		},
		{
			Name: "roll: a forged cell is silence", File: "revocation/roll/cell.go",
			Old: `		r.steady = r.cfg.Now()
`, New: ``,
			Packages: []string{roll}, Run: "TestForgeryIsNotSilence",
		},
		{
			Name: "roll: ready before it was met", File: "revocation/roll/roll.go",
			Old: `	if r.wrote.IsZero() {`, New: `	if false {`,
			Packages: []string{roll}, Run: "TestNobodyIsReadyUnmet",
		},
		{
			Name: "roll: an old mark says that one has left", File: "revocation/roll/others.go",
			Old: `o.kept = o.kept && !(o.left && o.at.Lineage == at.Lineage)`, New: `o.kept = o.kept && !o.left`,
			Packages: []string{roll}, Run: "TestAnOldMarkThatSaysLeft",
		},
		{
			Name: "roll: one that is stopped does not say so", File: "revocation/journal/replica.go",
			Old: `		err = j.cfg.Roll.Leave(ctx, position(j.position()))`, New: `		_ = position`,
			Packages: []string{journal}, Run: "TestRunLeaves",
		},
		{
			Name: "roll: whoever slept gives the others up", File: "revocation/roll/roll.go",
			Old: `		r.steady = now
`, New: ``,
			Packages: []string{roll}, Run: "TestOneThatSleptGivesNobodyUp",
		},
		{
			Name: "roll: a restart waits for nobody", File: "revocation/roll/roll.go",
			Old: `	r.keep(ctx)`, New: `	_ = r.keep`,
			Packages: []string{roll}, Run: "TestARestartKnowsWhomToWaitFor",
		},
		{
			Name: "revocation: a kill during a scan leaves readers to resume", File: "revocation/journal/replica.go",
			Old: `		j.ahead = true`, New: `		j.ahead = false`,
			Packages: []string{journal}, Run: "TestKilledDuringAScan",
		},
		{
			Name: "revocation: the position is stamped late", File: "revocation/index.go",
			Old: `	position := token.Rev{}
	for i := range events {
`,
			New: `	position := token.Rev{}
	for i := range events {
		x.advance(events[i].Position)
`,
			Packages: []string{index}, Run: "TestPositionNeverRunsAhead",
		},
		{
			Name: "revocation: a lifted rule is put back", File: "revocation/index.go",
			Old: `	if lift, ok := x.lifted[id]; ok {
		lift.Exp`,
			New: `	if lift, ok := x.lifted[id]; ok && len(r.Entries) == 0 {
		lift.Exp`,
			Packages: []string{index}, Run: "TestLiftBeforeItsRule",
		},
		{
			Name: "revocation: a snapshot replaces", File: "revocation/snapshot.go",
			Old: `	var errs []error
	for i := range s.Lineages {`,
			New: `	var errs []error
	x.core.Store(newCore(x.core.Load().seed, 0))
	for i := range s.Lineages {`,
			Packages: []string{index}, Run: "TestIndexIsTheModel",
		},
		{
			Name: "revocation: a leaked key's rev is believed", File: "revocation/check.go",
			Old:      `	ignoresRev = asKey | asPolicy`,
			New:      `	ignoresRev = asPolicy`,
			Packages: []string{journal}, Run: "TestForgedFutureRev",
		},
		{
			Name: "revocation: descendants of a leaked key live", File: "revocation/check.go",
			Old:      `		if c.Ancestors[i].KeyID == last {`,
			New:      `		if c.Ancestors[i].KeyID != kid {`,
			Packages: []string{journal}, Run: "TestForgedFutureRev",
		},
		{
			Name: "revocation: a prefix stem is taken as a segment", File: "revocation/trie.go",
			Old: `		stem := segment[:n]
`,
			New: `		stem := segment[:n]
		if n < len(segment) {
			continue
		}
`,
			Packages: []string{index}, Run: "TestScopeRules",
		},
		{
			Name: "revocation: time ends a lift before its rule", File: "revocation/index.go",
			Old: `	if r.ExpiresAt.After(expires) {
		return millis(r.ExpiresAt)
	}
`,
			New:      ``,
			Packages: []string{index}, Run: "TestLiftBeforeItsRule|TestSweep",
		},
		{
			Name: "revocation/journal: off", File: "revocation/journal/journal.go",
			Old: `	if err := j.write(payload); err != nil {
		return err
	}
	if err := j.cfg.Index.Apply`,
			New:      `	if err := j.cfg.Index.Apply`,
			Packages: []string{journal}, Run: "TestKilledReplica",
		},
		{
			Name: "revocation/journal: written and not synced", File: "revocation/journal/file.go",
			Old: `	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("syncing journal: %w", err)
	}
	return nil
}

// put`,
			New: `	return nil
}

// put`,
			Packages: []string{journal}, Run: "TestKilledReplica",
		},
		{
			Name: "revocation/journal: a replaced file's name is not synced", File: "revocation/journal/file.go",
			Old: `	if err == nil {
		err = r.fsys.SyncDir(r.dir)
	}
`,
			New:      ``,
			Packages: []string{journal}, Run: "TestKilledReplica",
		},
		{
			Name: "revocation/journal: what the log lost is not put back", File: "revocation/journal/scan.go",
			Old:      `		if in, ok := held.Rule(r.ID); !ok || !within(r.Entries, in.Entries) {`,
			New:      `		if in, ok := held.Rule(r.ID); ok && !within(r.Entries, in.Entries) {`,
			Packages: []string{journal}, Run: "TestTailLost",
		},
		{
			Name: "revocation/journal: a rule put back forgets its places", File: "revocation/journal/follow.go",
			Old:      `		e.Rule.Entries = revocation.MergeEntries(e.Rule.Entries, at)`,
			New:      `		e.Rule.Entries = revocation.MergeEntries(nil, at)`,
			Packages: []string{journal}, Run: "TestTailLost",
		},
		{
			Name: "revocation/journal: places that only a lost log had are not put back", File: "revocation/journal/follow.go",
			Old:      `		if ok && len(r.Entries) < revocation.MaxEntries && !within(r.Entries, e.Rule.Entries) {`,
			New:      `		if ok && r.ID == "" {`,
			Packages: []string{journal}, Run: "TestPlaceInALostLog",
		},
		{
			Name: "revocation/journal: lifts are not put back", File: "revocation/journal/scan.go",
			Old:      `		if _, ok := held.Lifted(l.RuleID); !ok {`,
			New:      `		if _, ok := held.Lifted(l.RuleID); ok {`,
			Packages: []string{journal}, Run: "TestWipedLog|TestOldLog",
		},
		{
			Name: "revocation/journal: a lost lineage is forgotten", File: "revocation/journal/scan.go",
			Old:      `		if !inLog[g.ID] {`,
			New:      `		if inLog[g.ID] {`,
			Packages: []string{journal}, Run: "TestWipedLog",
		},
		{
			Name: "revocation/journal: tokens are minted between two logs", File: "revocation/journal/scan.go",
			Old:      `j.confirmed.Swap(nil)`,
			New:      `j.confirmed.Load()`,
			Packages: []string{journal}, Run: "TestNoTokenIsMintedBetweenTwoLogs",
		},
		{
			Name: "revocation/journal: a lineage without a marker is stamped", File: "revocation/journal/record.go",
			Old:      `	if c.complete && len(c.ends) == 1 {`,
			New:      `	if c.complete {`,
			Packages: []string{journal}, Run: "TestAbandonedOpen",
		},
		{
			Name: "revocation/journal: a local rule is kept from the feed", File: "revocation/journal/journal.go",
			Old:      "		j.feed.publish(&events[i])\n",
			New:      "",
			Packages: []string{journal}, Run: "TestLocalRule",
		},
		{
			Name: "revocation/journal: a reader resumes among events of another log", File: "revocation/journal/feed.go",
			Old:      `func (f *feed) forget(gap bool) { f.ring, f.gap = nil, gap }`,
			New:      `func (f *feed) forget(gap bool) { f.gap = gap && f.gap }`,
			Packages: []string{journal}, Run: "TestSimulation",
		},
		{
			Name: "revocation/journal: a record that cannot be read is passed over", File: "revocation/journal/follow.go",
			Old: `			// What comes after must not be applied: a revocation would be missed.
			return fmt.Errorf("revocation log at %s: %w", records[i].Position, err)`,
			New:      `			continue`,
			Packages: []string{journal}, Run: "TestUnreadableRecord",
		},
		{
			Name: "revocation: an acknowledgement that comes late counts", File: "revocation/acks.go",
			Old:      `position != at && a.covers(at, position)`,
			New:      `position == at && a.covers(at, position)`,
			Packages: []string{index}, Run: "^TestAckThatComesLate$",
		},
		{
			Name: "revocation/journal: who gives up takes back what others hold", File: "revocation/journal/pending.go",
			Old:      `func(other *hold) bool { return other == h })`,
			New:      `func(other *hold) bool { return true })`,
			Packages: []string{journal}, Run: "^TestWhoGivesUpTakesNothingBackOfAnother$",
		},
		{
			Name: "revocation/journal: a replaced file hides what it holds beyond its place", File: "revocation/journal/replica.go",
			Old:      `tail = append(tail, j.behind)`,
			New:      `_ = tail`,
			Packages: []string{journal}, Run: "^TestFileReplacedWhileTheLogIsRead$",
		},
		{
			Name: "revocation/journal: a replica that has left accepts what it alone knows", File: "revocation/journal/replica.go",
			Old:      `	j.setLeaving(true)`,
			New:      `	j.setLeaving(false)`,
			Packages: []string{journal}, Run: "^TestWhatIsAppendedAfterLeaving$",
		},
		{
			Name: "revocation/fleet: one that comes back is followed twice", File: "revocation/fleet/fleet.go",
			Old:      `before := f.ending[replica]`,
			New:      `before := f.ending[""]`,
			Packages: []string{"./revocation/fleet"}, Run: "^TestReplicaThatComesBack$",
		},
	}
}
