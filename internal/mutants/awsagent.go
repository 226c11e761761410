package mutants

// awsAgent breaks the endpoint that gives AWS credentials to a machine: who gets them, for how
// long, and how often the broker is asked.
func awsAgent() []Mutant {
	agent, cli := []string{"./client/awsagent"}, []string{"./cmd/writ"}
	return []Mutant{
		{
			"awsagent: whoever asks is answered", "client/awsagent/serve.go",
			"if !a.holdsToken(r.Header.Values(\"Authorization\")) {", "if false {",
			agent, "^TestContainerProtocol$",
		},
		{
			"awsagent: a stranger's name leads here", "client/awsagent/serve.go",
			"if !isOwnHost(r.Host, a.listener.Addr()) {", "if false {",
			agent, "^TestContainerProtocol$",
		},
		{
			"awsagent: any port is its own", "client/awsagent/serve.go",
			"if err != nil || askedPort != port {", "if err != nil || askedPort != port && false {",
			agent, "^TestContainerProtocol$",
		},
		{
			"awsagent: it listens where others reach it", "client/awsagent/agent.go",
			"if err != nil || !addr.Addr().IsLoopback() {", "if err != nil || !addr.IsValid() {",
			agent, "^TestNewRefuses$",
		},
		{
			"awsagent: others may read the token file", "client/awsagent/token.go",
			"if mode.Perm()&forbidden != 0 {", "if mode.Perm()&forbidden > 0o777 {",
			agent, "^TestTokenFile$",
		},
		{
			"awsagent: a stranger made the token file", "client/awsagent/token.go",
			"if owner != self && owner != 0 {", "if false {",
			agent, "^TestTokenFileOfAnotherOwner$",
		},
		{
			"awsagent: the token file is taken for one's own", "client/awsagent/token.go",
			"owner, ok := ownerOf(info)", "owner, ok := self, true",
			agent, "^TestTokenFileIsAskedForItsOwner$",
		},
		{
			"awsagent: a group reads one's own token file", "client/awsagent/token.go",
			"if owner != self {\n\t\tforbidden", "if true {\n\t\tforbidden",
			agent, "^TestTokenFile",
		},
		{
			"awsagent: what has expired is served", "client/awsagent/keeper.go",
			"case k.lease != nil && now.Before(k.lease.unfit):", "case k.lease != nil:",
			agent, "^TestServesUntilTheEndWhileTheBrokerIsAway$",
		},
		{
			"awsagent: a failed renewal drops the session", "client/awsagent/keeper.go",
			"\t\tk.failures++\n", "\t\tk.failures++\n\t\tk.lease = nil\n",
			agent, "^TestServesUntilTheEndWhileTheBrokerIsAway$",
		},
		{
			"awsagent: a session is asked for while the broker gives the same again", "client/awsagent/keeper.go",
			"early := min(left/2, ahead) - min(after, left/10)", "early := left * 6 / 10",
			agent, "^TestOneFetchALifeHoweverManyAsk$",
		},
		{
			"awsagent: SDKs find the end near", "client/awsagent/keeper.go",
			"early := min(left/2, ahead) - min(after, left/10)", "early := min(left/2, ahead/2)",
			agent, "^TestOneFetchALifeHoweverManyAsk$",
		},
		{
			"awsagent: a broker that refuses is asked by everybody", "client/awsagent/keeper.go",
			"pause := k.pause(err)", "pause := 10 * time.Millisecond",
			agent, "^TestLeavesABrokerAloneThatRefuses$",
		},
		{
			"awsagent: a machine that slept is not noticed", "client/awsagent/keeper.go",
			"if due && !k.fetching {", "if false {",
			agent, "^TestNothingExpiredAfterAMachineSlept$",
		},
		{
			"cli: a command keeps other AWS keys", "cmd/writ/internal/cli/aws_exec.go",
			`!drop[name]`, `!drop[name] || name == "AWS_ACCESS_KEY_ID"`,
			cli, "^TestScripts$/^aws_exec$",
		},
		{
			"cli: a command asks other profiles first", "cmd/writ/internal/cli/aws_exec.go",
			`"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, `, "",
			cli, "^TestScripts$/^aws_exec$",
		},
		{
			"cli: a signal stays here", "cmd/writ/internal/cli/aws_exec.go",
			"_ = cmd.Process.Signal(s)", "_ = s",
			cli, "^TestScripts$/^aws_exec$",
		},
	}
}
