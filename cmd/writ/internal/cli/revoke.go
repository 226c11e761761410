package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
)

type revokeFlags struct {
	access
	reason              string
	apply, allowReissue bool
	wait                time.Duration
	file                string
}

// selectors says what each kind of rule hits.
func selectors() map[revocation.Selector]string {
	return map[revocation.Selector]string{
		revocation.SelectToken:    "one token, by its jti, and all its descendants",
		revocation.SelectSubject:  "all tokens of a subject, and quarantine it",
		revocation.SelectAgent:    "all tokens that an agent holds or acts in, and quarantine it",
		revocation.SelectTask:     "all tokens of a task (txn)",
		revocation.SelectIssuer:   "all tokens of an identity source's principals, and quarantine the source",
		revocation.SelectRole:     "all tokens that a role gave something to",
		revocation.SelectAudience: "all tokens for an audience",
		revocation.SelectKey:      "all tokens that a key signed, and their descendants, for good",
		revocation.SelectScope:    "all tokens with a scope that overlaps this one",
		revocation.SelectPolicy:   "all tokens minted under a policy version, for good",
		revocation.SelectAll:      "every token",
	}
}

func (e *env) revokeCommand() *cobra.Command {
	var f revokeFlags
	group := &cobra.Command{
		Use: "revoke", Short: "take credentials back (a dry run until --apply)",
		Long: "Shows what a rule would hit: tokens live now, agents, longest expiry. With --apply it is in\nforce at once; with --wait the answer says which verifiers have applied it.\n" + exitHelp,
	}
	f.flags(group.PersistentFlags())
	p := group.PersistentFlags()
	p.BoolVar(&f.apply, "apply", false, "do it")
	p.DurationVar(&f.wait, "wait", 0, "wait for every connected verifier to have applied it, 10s or as long as this says (at most 60s)")
	p.Lookup("wait").NoOptDefVal = "10s"
	p.StringVar(&f.reason, "reason", "", "why, for the record")
	p.BoolVar(&f.allowReissue, "allow-reissue", false, "no quarantine: the agent, subject or issuer may get new tokens at once")
	about := selectors()
	for _, sel := range revocation.Selectors() {
		use := string(sel) + " VALUE"
		if sel == revocation.SelectAll {
			use = string(sel)
		}
		c := &cobra.Command{
			Use: use, Short: about[sel],
			RunE: func(c *cobra.Command, args []string) error {
				return e.revoke(c.Context(), &f, sel, f.values(sel, args, c.Flags().Changed("wait")))
			},
		}
		if sel == revocation.SelectToken {
			c.Use = "token JTI"
			c.Flags().StringVar(&f.file, "file", "", "revoke the jti on each line of a file, - for standard input")
		}
		group.AddCommand(c)
	}
	return group
}

// takes says how many values a selector takes.
func (f *revokeFlags) takes(sel revocation.Selector) int {
	if sel == revocation.SelectAll || f.file != "" {
		return 0
	}
	return 1
}

// values are the arguments that name what to revoke. Since --wait may stand alone, what
// follows it looks like an argument: one too many that is a duration is meant for it.
func (f *revokeFlags) values(sel revocation.Selector, args []string, waits bool) []string {
	last := len(args) - 1
	if !waits || last != f.takes(sel) {
		return args
	}
	for i, arg := range slices.Backward(args) {
		if d, err := time.ParseDuration(arg); err == nil {
			f.wait = d
			return slices.Delete(args, i, i+1)
		}
	}
	return args
}

func (e *env) revoke(ctx context.Context, f *revokeFlags, sel revocation.Selector, args []string) error {
	if f.wait < 0 || f.wait > time.Minute {
		return usage("--wait is at most 60s")
	}
	if len(args) != f.takes(sel) {
		return usage("revoke %s takes %d value(s), not %d", sel, f.takes(sel), len(args))
	}
	if f.file != "" {
		return e.revokeFile(ctx, f)
	}
	value := strings.Join(args, "")
	need, err := broker.RevokeNeed(sel, value)
	if err != nil {
		return usage("%w", err)
	}
	admin, err := f.connect(need.String())
	if err != nil {
		return err
	}
	resp, err := admin.Revoke(ctx, f.request(sel, value))
	if err != nil {
		return err
	}
	if err := e.print(resp, func(w io.Writer) { printRevocation(w, resp) }); err != nil {
		return err
	}
	return incomplete(resp)
}

func (f *revokeFlags) request(sel revocation.Selector, value string) wire.RevokeRequest {
	return wire.RevokeRequest{
		Selector: string(sel), Value: value, Reason: f.reason, Apply: f.apply,
		AllowReissue: f.allowReissue, WaitSeconds: int((f.wait + time.Second - 1) / time.Second),
	}
}

func incomplete(r *wire.RevokeResponse) error {
	switch {
	case r.Durability == wire.DurabilityLocal:
		return hinted(ExitIncomplete, errors.New("durable on this replica only, until the shared log is back"), "it is in force on this replica's verifiers")
	case r.Ack != nil && !r.Ack.Complete:
		return hinted(ExitIncomplete, fmt.Errorf("%d of %d connected verifiers have applied it", r.Ack.Acknowledged, r.Ack.Verifiers),
			"the others refuse everything once they are stale for max_staleness; writ revocations list shows the rule")
	}
	return awsLeft(r)
}

// awsLeft is what AWS does not deny yet, though it was waited for, or could not be made to.
func awsLeft(r *wire.RevokeResponse) error {
	if r.AWS == nil || r.AWS.Off || !r.Applied {
		return nil
	}
	left := 0
	for _, role := range r.AWS.Roles {
		if role.State == wire.AWSFailed || role.State == wire.AWSPending && r.Ack != nil {
			left++
		}
	}
	if left == 0 {
		return nil
	}
	return hinted(ExitIncomplete, fmt.Errorf("%d of %d AWS roles do not deny the sessions yet", left, len(r.AWS.Roles)),
		"the broker goes on trying; what it could not do stands beside each role")
}

func printAWS(w io.Writer, r *wire.AWSReport) {
	if r == nil {
		return
	}
	line(w, "  AWS sessions, the last of which ends %s:", r.LiveUntil.Format(time.RFC3339))
	for _, role := range r.Roles {
		state := role.State
		switch {
		case r.Off:
			state = "not denied"
		case state == "":
			state = "would be denied"
		}
		if len(role.Denies) > 0 {
			state += " by " + strings.Join(role.Denies, " and ")
		}
		if role.Before != nil {
			state += ", all made before " + role.Before.Format(time.RFC3339)
		}
		line(w, "    %s: %d sessions, %s", role.Role, role.Sessions, state)
		if role.Detail != "" {
			line(w, "      %s", role.Detail)
		}
	}
	line(w, "    %s", r.Note)
}

func printRevocation(w io.Writer, r *wire.RevokeResponse) {
	p := r.Preview
	what := "would hit"
	if r.Applied {
		what = "hits"
	}
	line(w, "%s %s", r.Rule.Selector, r.Rule.Value)
	line(w, "  %s %d live tokens of %d agents", what, p.Tokens, p.Agents)
	if p.Users > 0 || p.STSSessions > 0 || len(p.Roles) > 0 {
		line(w, "    for %d users, roles: %s; %d STS sessions", p.Users, strings.Join(p.Roles, " "), p.STSSessions)
	}
	for _, a := range p.AgentIDs {
		line(w, "    %s", a)
	}
	for _, source := range slices.Sorted(mapsKeys(p.BySource)) {
		line(w, "  from %s: %d tokens", source, p.BySource[source])
	}
	if p.LongestExpiry != nil {
		line(w, "  the last of them expires %s", p.LongestExpiry.Format(time.RFC3339))
	}
	if p.Incomplete != "" {
		line(w, "  note: %s", p.Incomplete)
	}
	printAWS(w, r.AWS)
	if !r.Applied {
		line(w, "  nothing was changed; --apply does it")
		return
	}
	line(w, "  in force: rule %s, durability %s %s", r.Rule.ID, r.Durability, r.Position)
	if r.Quarantine != nil {
		line(w, "  quarantined until: writ revocations lift %s --apply", r.Quarantine.ID)
	}
	if r.Ack != nil {
		line(w, "  %d of %d verifiers have applied it; p50 %.1f ms, p99 %.1f ms", r.Ack.Acknowledged, r.Ack.Verifiers, r.Ack.P50MS, r.Ack.P99MS)
		for _, v := range r.Ack.Lagging {
			line(w, "  lags: %s %s, %s", v.Name, v.ID, progressOf(v))
		}
		for _, v := range r.Ack.AppliedBy {
			line(w, "  has it: %s %s", v.Name, v.ID)
		}
	}
}

func progressOf(v wire.Verifier) string {
	where := ""
	if v.Replica != "" {
		where = ", on replica " + v.Replica
	}
	if v.Position == "" {
		return "has acknowledged nothing yet" + where
	}
	return "is at " + v.Position + where
}

// revokeFile revokes the jti on each line, with a progress line. It goes on after a failure,
// and says at the end which failed.
func (e *env) revokeFile(ctx context.Context, f *revokeFlags) error {
	ids, err := readLines(f.file, e.in)
	if err != nil {
		return err
	}
	admin, err := f.connect("writ:revoke:token/*")
	if err != nil {
		return err
	}
	out := struct {
		Total   int               `json:"total"`
		Applied int               `json:"applied"`
		Tokens  int64             `json:"live_tokens"`
		Failed  map[string]string `json:"failed,omitempty"`
	}{Total: len(ids), Failed: map[string]string{}}
	for i, id := range ids {
		resp, err := e.revokeOne(ctx, admin, f, id)
		if err != nil {
			out.Failed[id] = err.Error()
		} else {
			out.Tokens += resp.Preview.Tokens
			if resp.Applied {
				out.Applied++
			}
		}
		e.progress(i+1, len(ids))
	}
	err = e.print(out, func(w io.Writer) {
		line(w, "%d tokens named, %d of them known to be live, %d revoked", out.Total, out.Tokens, out.Applied)
		for _, id := range slices.Sorted(mapsKeys(out.Failed)) {
			line(w, "  failed: %s: %s", id, out.Failed[id])
		}
	})
	if err == nil && len(out.Failed) > 0 {
		return hinted(ExitFailed, fmt.Errorf("%d of %d were not revoked", len(out.Failed), out.Total), "run it again: revoking twice does no harm")
	}
	return err
}

func (e *env) revokeOne(ctx context.Context, admin *client.Admin, f *revokeFlags, id string) (*wire.RevokeResponse, error) {
	return admin.Revoke(ctx, f.request(revocation.SelectToken, id))
}

const barWidth = 30

// progress draws how far a long command has got, and ends the line when it is done.
func (e *env) progress(done, total int) {
	if e.json {
		return
	}
	_, _ = fmt.Fprintf(e.err, "\r%d/%d %s", done, total, bar(done, total))
	if done == total {
		_, _ = fmt.Fprintln(e.err)
	}
}

func bar(done, total int) string {
	n := done * barWidth / max(total, 1)
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "]"
}

func readLines(file string, stdin io.Reader) ([]string, error) {
	in := stdin
	if file != "-" {
		fh, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("reading --file: %w", err)
		}
		defer func() { _ = fh.Close() }()
		in = fh
	}
	var out []string
	s := bufio.NewScanner(in)
	for s.Scan() {
		if id := strings.TrimSpace(s.Text()); id != "" && !strings.HasPrefix(id, "#") {
			out = append(out, id)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("reading --file: %w", err)
	}
	return out, nil
}
