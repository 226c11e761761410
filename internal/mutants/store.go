package mutants

// store breaks what makes a fork of the log visible.
func store() []Mutant {
	return []Mutant{
		{
			Name: "store: a lineage opened whoever serves the log", File: "store/bolt/log.go",
			Old:      "if t.Position != seen.Position || t.Instance != seen.Instance {",
			New:      "if t.Position != seen.Position {",
			Packages: []string{"./store/bolt"}, Run: "^TestConformance$/^open_compares_the_instance_too$",
		},
		{
			Name: "store: a replica whose clock is ahead trims what is live", File: "store/redis/trim.go",
			Old:      "if server.Before(now) {",
			New:      "if server.IsZero() {",
			Packages: []string{"./store/redis"}, Run: "^TestAClockThatIsAheadTrimsNothingLive$",
		},
		{
			Name: "store: a read of the log is held to what was written beside it", File: "store/bolt/log.go",
			Old:      "seen := v.seen",
			New:      "seen := v.log.watermark()",
			Packages: []string{"./store/bolt"}, Run: "^TestAWriteBesideAReadIsNoRollback$",
		},
		{
			Name: "store: a read of a cell is held to what was written beside it", File: "store/bolt/cells.go",
			Old:      "if v.Version < seen {",
			New:      "if v.Version < c.version(name) {",
			Packages: []string{"./store/bolt"}, Run: "^TestAWriteBesideAReadIsNoRollback$",
		},
		{
			Name: "store: a late answer of Redis is judged by what is known since", File: "store/redis/status.go",
			Old:      "if st.lost && st.instance == instance {",
			New:      "if st.lost && st.instance == l.seen.instance {",
			Packages: []string{"./store/redis"}, Run: "^TestCallThatWasUnderWayWhileTheDataWent$",
		},
		{
			Name: "store: a swap writes over a version that is later than its caller's", File: "store/redis/cells.go",
			Old: `	if s.version != version {
		return s, fmt.Errorf(`,
			New: `	if s.version < version {
		return s, fmt.Errorf(`,
			Packages: []string{"./store/redis"}, Run: "^TestSwapFromAVersionThatMovedOnMeanwhile$",
		},
		{
			Name: "store: who learns late of a forgery may write over what was put right", File: "store/redis/cells.go",
			Old:      "return store.Versioned{Version: before.version}, err",
			New:      "return store.Versioned{Version: s.version}, err",
			Packages: []string{"./store/redis"}, Run: "^TestCellThatWasHealedBeforeTheAnswerWasSeen$",
		},
		{
			Name: "store: a trim goes on over what was appended since its plan", File: "store/redis/trim.go",
			Old:      "t.over = t.over || r.Position == t.last",
			New:      "t.over = false",
			Packages: []string{"./store/redis"}, Run: "^TestTrimBesideAnAppend$",
		},
		{
			Name: "store: a late answer puts an instance that is no more in the place of the next", File: "store/redis/status.go",
			Old:      "case instance != l.seen.instance && known != l.seen.instance:",
			New:      "case known != known:",
			Packages: []string{"./store/redis"}, Run: "^TestAnswerOfAnInstanceThatIsNoMore$",
		},
		{
			Name: "store: what Redis has written by halves may come in the place of a lineage", File: "store/redis/log.go",
			Old:      `{"close", "clear", "raise"}`,
			New:      `{"close", "raise"}`,
			Packages: []string{"./store/redis"}, Run: "^TestTransactionThatWasTorn$",
		},
		{
			Name: "store: what Redis has written by halves is cleared before it can have come", File: "store/redis/log.go",
			Old:      `{"close", "clear", "raise"}`,
			New:      `{"clear", "raise"}`,
			Packages: []string{"./store/redis"}, Run: "^TestTransactionThatWasTorn$",
		},
		{
			Name: "store: a lineage begins where the file of Redis does not know", File: "store/redis/log.go",
			Old:      `{"close", "clear", "raise"}`,
			New:      `{"close", "clear"}`,
			Packages: []string{"./store/redis"}, Run: "^TestTransactionThatWasTorn$",
		},
		{
			Name: "store: a trim note excuses what is there", File: "store/redis/read.go",
			Old:      "index <= n.last && n.last < next {",
			New:      "index <= n.last {",
			Packages: []string{"./store/redis"}, Run: "^TestTrimThatWasTorn$",
		},
		{
			Name: "store: a page knows too few notes for its records", File: "store/redis/read.go",
			Old:      "if len(after) == most {",
			New:      "if len(after) < 0 {",
			Packages: []string{"./store/redis"}, Run: "^TestTrimThatWasTorn$",
		},
		{
			Name: "store: a position is looked for under one note alone", File: "store/redis/read.go",
			Old:      "range []int{1, mostNotes} {",
			New:      "range []int{1} {",
			Packages: []string{"./store/redis"}, Run: "^TestTrimThatWasTorn$",
		},
		{
			Name: "store: a note that fits nothing is in the way of one that does", File: "store/redis/read.go",
			Old: `		if err == nil {
			return nil
		}
		if first == nil {`,
			New: `		if err == nil || n != nil {
			return err
		}
		if first == nil {`,
			Packages: []string{"./store/redis"}, Run: "^TestNotesThatFitNothing$",
		},
		{
			Name: "store: a note is asked where nothing is missing", File: "store/redis/read.go",
			Old:      "if r, err := c.chain.Next(it.data); err == nil {",
			New:      "if r, err := c.chain.Next(it.data); err == nil && it.index == c.index+1 {",
			Packages: []string{"./store/redis"}, Run: "^TestNotesThatFitNothing$",
		},
		{
			Name: "store: a trim removes records one by one", File: "store/redis/scripts/trim.lua",
			Old:      "redis.call('XDEL', KEYS[2], unpack(ARGV, ids))",
			New:      "for i = ids, #ARGV do redis.call('XDEL', KEYS[2], ARGV[i]) end",
			Packages: []string{"./store/redis"}, Run: "^TestTornAtRandom$|^TestTrimThatWasTorn$",
		},
		{
			Name: "store: the room before a lineage has no note", File: "store/redis/trim.go",
			Old:      "t.extend(t.at+1, index,",
			New:      "t.extend(index, index,",
			Packages: []string{"./store/redis"}, Run: "^TestTornAtRandom$",
		},
		{
			Name: "store: a hint that Redis has lost makes a position unknown", File: "store/redis/read.go",
			Old:      "l.noted, l.laid}",
			New:      "l.noted}",
			Packages: []string{"./store/redis"}, Run: "^TestLineageWhosePlaceIsNotKnown$",
		},
		{
			Name: "store: a log that knows no position is read again for ever", File: "revocation/journal/follow.go",
			Old:      "rewinds > maxRewinds {",
			New:      "rewinds < 0 {",
			Packages: []string{"./revocation/journal"}, Run: "^TestALogThatKnowsNoPositionIsNotReadForEver$",
		},
		{
			Name: "store: an alarm is not counted", File: "cmd/writ/internal/app/alarms.go",
			Old:      "h.total.WithLabelValues(a.Value.String()).Inc()",
			New:      "h.total.WithLabelValues(a.Value.String()).Add(0)",
			Packages: []string{"./cmd/writ/internal/app"}, Run: "^TestSiegeDelete$/^everything_to_running$",
		},
		{
			Name: "store: a log that went back raises no alarm", File: "revocation/journal/scan.go",
			Old:      "reading it again\", store.AlarmKey, alarm,",
			New:      "reading it again\", \"was\", store.AlarmKey+alarm,",
			Packages: []string{"./cmd/writ/internal/app"}, Run: "^TestSiegeDelete$/^everything_to_running$",
		},
		{
			Name: "store: a replica trusts the clock that was set back", File: "revocation/journal/journal.go",
			Old:      "max(now.Sub(at), now.Round(0).Sub(at.Round(0)), 0)",
			New:      "max(now.Round(0).Sub(at.Round(0)), 0)",
			Packages: []string{"./revocation/journal"}, Run: "^TestNoClockMakesOldNewsFresh$",
		},
		{
			Name: "store: a replica that slept thinks it is fresh", File: "revocation/journal/journal.go",
			Old:      "max(now.Sub(at), now.Round(0).Sub(at.Round(0)), 0)",
			New:      "max(now.Sub(at), 0)",
			Packages: []string{"./revocation/journal"}, Run: "^TestNoClockMakesOldNewsFresh$",
		},
	}
}
