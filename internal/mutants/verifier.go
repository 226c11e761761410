package mutants

// verifier breaks what a resource server relies on: that a revocation beats
// every memory, that silence is not consent, and that a bound token stays bound.
func verifier() []Mutant {
	return []Mutant{
		{
			Name: "verifier: a token in the cache is not asked about again after a rule", File: "verifier/feed.go",
			Old:      "\tr.applied.Add(1) // after an error too: a part may have been applied\n",
			New:      "",
			Packages: []string{"./verifier"}, Run: "^TestARevocationBeatsTheCache$",
		},
		{
			Name: "verifier: a silent feed is trusted", File: "verifier/verifier.go",
			Old:      "since-confirmed > v.cfg.MaxStaleness || ",
			New:      "",
			Packages: []string{"./verifier"}, Run: "^TestStale$",
		},
		{
			Name: "verifier: a heartbeat confirms what was not read", File: "verifier/feed.go",
			Old:      "if !r.index.Covers(position, e.Heartbeat.Position) {",
			New:      "if false && !r.index.Covers(position, e.Heartbeat.Position) {",
			Packages: []string{"./verifier"}, Run: "^TestAGapIsNotConfirmed$",
		},
		{
			Name: "verifier: a heartbeat is dated by its arrival", File: "client/watch.go",
			Old:      "byAge.Before(at) {",
			New:      "false && byAge.Before(at) {",
			Packages: []string{"./client", "./verifier"}, Run: "^(TestHeartbeatsAreDated|TestADelayedStreamIsStale)$",
		},
		{
			Name: "verifier: a token in the cache outlives its expiry", File: "verifier/verify.go",
			Old:      "t >= e.notAfter {",
			New:      "t >= e.notAfter+3600 {",
			Packages: []string{"./verifier"}, Run: "^TestTheCacheKnowsTheTime$",
		},
		{
			Name: "verifier: a token in the cache outlives its key", File: "verifier/verify.go",
			Old:      "ring.keys[e.key.ID] != e.key || ",
			New:      "",
			Packages: []string{"./verifier"}, Run: "^TestKeyRotation$",
		},
		{
			Name: "verifier: a feed on another server says what the keys are", File: "verifier/ring.go",
			Old:      "\tif !v.ring.Load().feedKeys {\n",
			New:      "\tif false {\n",
			Packages: []string{"./verifier"}, Run: "^TestKeysThatTheFeedMayNotSay$",
		},
		{
			Name: "verifier: every verifier asks for the keys of a rotation", File: "verifier/feed.go",
			Old:      "r.takeKeys(e.Keys)",
			New:      "r.wantKeys(rotated)",
			Packages: []string{"./verifier"}, Run: "^TestARotationIsNoHerd$",
		},
		{
			Name: "verifier: those that have to ask for keys ask at once", File: "verifier/ring.go",
			Old:      "at := now.Add(spread(keysSpread))",
			New:      "at := now",
			Packages: []string{"./verifier"}, Run: "^TestARotationIsNoHerd$",
		},
		{
			Name: "verifier: a bound token is taken as a bearer token", File: "verifier/verify.go",
			Old:      "c != nil && !confirmed(c, p) {",
			New:      "false && c != nil && !confirmed(c, p) {",
			Packages: []string{"./verifier"}, Run: "^(TestCertificateBoundToken|TestRefusedTokens)$",
		},
		{
			Name: "verifier: a snapshot is merged unverified", File: "verifier/load.go",
			Old:      "payload, err := unverified.Verify(key)\n",
			New:      "_ = key\n\tpayload, err := unverified.UnverifiedPayload(), error(nil)\n",
			Packages: []string{"./verifier"}, Run: "^TestSnapshotsThatAreRefused$",
		},
		{
			Name: "verifier: a gRPC stream is checked only when it opens", File: "verifier/grpcverifier/stream.go",
			Old:      "\t_, err := s.guard.authenticate(s.ServerStream.Context())\n\treturn err\n",
			New:      "\treturn nil\n",
			Packages: []string{"./verifier"}, Run: "^TestGRPCStreamIsCheckedAtEachMessage$",
		},
		{
			Name: "verifier: two Authorization headers, the first counts", File: "verifier/challenge.go",
			Old:      "case len(values) > 1:",
			New:      "case len(values) > 2:",
			Packages: []string{"./verifier"}, Run: "^TestRequire$",
		},
		{
			Name: "client: a rotation is sent again after a broken connection", File: "client/call.go",
			Old:      "return wait, repeatable && errors.As(err, &unsent)",
			New:      "return wait, errors.As(err, &unsent)",
			Packages: []string{"./client"}, Run: "^TestChangesAreNotRepeatedBlindly$",
		},
	}
}
