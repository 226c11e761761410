package mutants

// Forgetting breaks the promise that nothing acknowledged is forgotten. The test that must
// notice runs the whole product for half a minute, so these are apart from All.
func Forgetting() []Mutant {
	const (
		packages = "./cmd/writ/internal/forgetting"
		test     = "^TestForgetting$"
	)
	return []Mutant{
		{
			Name: "forgetting: the journal is off", File: "revocation/journal/journal.go",
			Old: `	if err := j.write(payload); err != nil {
		return err
	}
	if err := j.cfg.Index.Apply`,
			New:      `	if err := j.cfg.Index.Apply`,
			Packages: []string{packages}, Run: test,
		},
		{
			Name: "forgetting: a position is one number across a failover", File: "revocation/lineage.go",
			Old: `	if p.line == line {
		return p.seq <= seq
	}`,
			New: `	if p.seq <= seq {
		return true
	}`,
			Packages: []string{packages}, Run: test,
		},
		{
			Name: "forgetting: a heartbeat without a confirmed tail", File: "revocation/journal/feed.go",
			Old:      `		h.ConfirmedAgoMS = (ago`,
			New:      `		h.ConfirmedAgoMS = 0 * (ago`,
			Packages: []string{packages}, Run: test,
		},
		{
			Name: "forgetting: replicas do not wait for each other", File: "revocation/journal/follow.go",
			Old:      `j.position())); since.Before(at) {`,
			New:      `j.position())); false {`,
			Packages: []string{packages}, Run: test,
		},
		{
			Name: "forgetting: lifted rules are put back", File: "revocation/index.go",
			Old: `		k.kill(r)
	}
	x.lifted[id] = lift
`,
			New: `		k.kill(r)
		return nil
	}
	x.lifted[id] = lift
`,
			Packages: []string{packages}, Run: test,
		},
		{
			Name: "forgetting: a log that lost lifts is not given them", File: "revocation/journal/scan.go",
			Old:      `		if _, ok := held.Lifted(l.RuleID); !ok {`,
			New:      `		if _, ok := held.Lifted(l.RuleID); ok {`,
			Packages: []string{packages}, Run: test,
		},
	}
}
