package dev

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// Description says where everything is. It holds the samples' tokens, so it is for the
// terminal or the test that asked for it.
type Description struct {
	Issuer           string            `json:"issuer"`
	Admin            string            `json:"admin"`
	Resource         string            `json:"resource"`
	IdentityProvider string            `json:"identity_provider"`
	DataDir          string            `json:"data_dir"`
	Config           string            `json:"config"`
	BreakGlassSocket string            `json:"break_glass_socket"`
	BundleDir        string            `json:"bundle_dir"`
	Samples          map[string]Sample `json:"samples"`
}

// Describe gives the world as a program reads it.
func (w *World) Describe(ctx context.Context) (Description, error) {
	samples, err := w.Samples(ctx)
	if err != nil {
		return Description{}, err
	}
	return Description{
		Issuer: w.Issuer(), Admin: w.Admin(), Resource: w.Resource(), IdentityProvider: w.IdentityProvider(),
		DataDir: w.dir, Config: w.ConfigFile(), BreakGlassSocket: w.socket, BundleDir: w.BundleDir(), Samples: samples,
	}, nil
}

// Line is one line of the guide that can be pasted into a shell, and what it shows.
type Line struct {
	Title, Command string
}

// Lines are commands that work when they are pasted in order. Tokens come from files, so
// that none is in the shell's history.
func (w *World) Lines() []Line {
	token := func(name string) string { return `"$(cat ` + shell(w.tokenFile(name)) + `)"` }
	kept := func(name string) string { return filepath.Join(w.dir, "tokens", name) }
	exchange := func(to string, parameters ...string) string {
		return "(umask 077; curl -s " + w.Issuer() + "/token -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange" +
			" --data-urlencode " + strings.Join(parameters, " --data-urlencode ") + ` | sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p' > ` + shell(kept(to)) + ")"
	}
	const ofJWT, ofIDToken = "subject_token_type=urn:ietf:params:oauth:token-type:jwt", "subject_token_type=urn:ietf:params:oauth:token-type:id_token"
	with := func(name string) string { return `-H "Authorization: Bearer $(cat ` + shell(kept(name)) + `)" ` }
	orders, access := w.Resource()+"/data/eu/orders", `"token=$(cat `+shell(kept("access"))+`)"`
	return []Line{
		{"an agent exchanges its workload token, and keeps the answer's token in a file", exchange("access",
			"subject_token="+token(SampleAgent), ofJWT, "scope='warehouse:read:sales/eu/*'")},
		{"and reads with it", "curl -si " + with("access") + orders},
		{"a write is refused: 403 insufficient_scope", "curl -si -X PUT -d '[]' " + with("access") + orders},
		{"so is a pattern with restricted tables in it: 400 invalid_scope", "curl -s " + w.Issuer() + "/token" +
			" -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange --data-urlencode subject_token=" + token(SampleAgent) +
			" --data-urlencode " + ofJWT + " --data-urlencode 'scope=warehouse:read:sales/**'"},
		{"the agent acts for a person", exchange("delegated",
			"subject_token="+token(SampleUser), ofIDToken,
			"actor_token="+token(SampleAgent), "actor_token_type=urn:ietf:params:oauth:token-type:jwt", "scope='warehouse:read:sales/eu/*'")},
		{"and the resource server knows both", "curl -s " + with("delegated") + orders},
		{"the resource server's own token may ask about others", exchange("server",
			"subject_token="+token(SampleServer), ofJWT, "scope='writ:introspect:**'")},
		{"is the agent's token alive?", "curl -s " + with("server") + "--data-urlencode " + access + " " + w.Issuer() + "/introspect"},
		{"security ops gets a token", exchange("security",
			"subject_token="+token(SampleSecurity), ofIDToken, "scope='writ:revoke:**'")},
		{"and revokes whatever the role " + "sales-reader gave (drop wait_seconds and apply for a dry run)",
			"curl -s " + with("security") + "-H 'Content-Type: application/json' " + w.Admin() + "/admin/v1/revocations" +
				` -d '{"selector":"role","value":"sales-reader","reason":"trying it","apply":true,"wait_seconds":5}'`},
		{"the agent's token is dead at once: 401 invalid_token", "curl -si " + with("access") + orders},
		{"and not active", "curl -s " + with("server") + "--data-urlencode " + access + " " + w.Issuer() + "/introspect"},
		{"a new one works, since it was minted by a broker that knew of the rule", exchange("access",
			"subject_token="+token(SampleAgent), ofJWT, "scope='warehouse:read:sales/eu/*'")},
		{"see?", "curl -si " + with("access") + orders},
	}
}

// Guide is what a person reads who has just started this.
func (w *World) Guide() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Writ is running. Stop it with Ctrl-C.")
	line("")
	line("  issuer             %s", w.Issuer())
	line("  admin              %s", w.Admin())
	line("  resource server    %s", w.Resource())
	line("  identity provider  %s", w.IdentityProvider())
	line("  data               %s", w.dir)
	line("  configuration      %s", w.ConfigFile())
	line("  policy bundle      %s   edit it: a change is loaded within two seconds", w.BundleDir())
	line("  tokens             %s   replaced every minute", filepath.Join(w.dir, "tokens", "*.jwt"))
	line("  break glass        %s", w.socket)
	line("")
	line("Paste these, in order:")
	for _, l := range w.Lines() {
		line("")
		line("# %s", l.Title)
		line("%s", l.Command)
	}
	line("")
	line("# the same with the command line")
	line("export WRIT_BROKER=%s WRIT_ADMIN=%s WRIT_IDENTITY_FILE=%s", w.Issuer(), w.Admin(), shell(w.tokenFile(SampleSecurity)))
	line("writ revocations list")
	return b.String()
}

// shell quotes a word for a shell, if it needs to be.
func shell(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@", r)
	}
	if strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
