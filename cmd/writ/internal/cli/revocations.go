package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"time"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/revocation"
)

func mapsKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

func (e *env) revocationsCommand() *cobra.Command {
	var a access
	group := &cobra.Command{Use: "revocations", Short: "see, watch and lift what is revoked"}
	a.flags(group.PersistentFlags())
	group.AddCommand(e.listCommand(&a), e.showCommand(&a), e.watchCommand(&a), e.liftCommand(&a), e.verifiersCommand(&a))
	return group
}

func (e *env) listCommand(a *access) *cobra.Command {
	var q client.RuleQuery
	c := &cobra.Command{
		Use: "list", Short: "list the rules and quarantines in force", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.listRules(c.Context(), a, q) },
	}
	c.Flags().StringVar(&q.Selector, "selector", "", "only rules with this selector")
	c.Flags().StringVar(&q.Value, "value", "", "only rules with this value")
	c.Flags().IntVar(&q.Limit, "limit", 100, "at most this many")
	c.Flags().StringVar(&q.Cursor, "cursor", "", "go on after this one")
	return c
}

func (e *env) listRules(ctx context.Context, a *access, q client.RuleQuery) error {
	admin, err := a.connect("writ:revoke:read")
	if err != nil {
		return err
	}
	list, err := admin.Rules(ctx, q)
	if err != nil {
		return err
	}
	return e.print(list, func(w io.Writer) {
		line(w, "%d in force at %s", list.Total, list.Position)
		for _, r := range list.Rules {
			printRule(w, r)
		}
		if list.Next != "" {
			line(w, "more: --cursor %s", list.Next)
		}
	})
}

func printRule(w io.Writer, r wire.Rule) {
	until, kind := "until lifted", "revoked"
	if r.ExpiresAt != nil {
		until = "until " + r.ExpiresAt.Format(time.RFC3339)
	}
	if r.Quarantine {
		kind = "quarantined"
	}
	line(w, "%s  %-11s %s %s  %s  by %s  %s", r.ID, kind, r.Selector, r.Value, until, r.By, r.Reason)
}

func (e *env) showCommand(a *access) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "show one rule, and which verifiers have applied it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			admin, err := a.connect("writ:revoke:read")
			if err != nil {
				return err
			}
			st, err := admin.Rule(c.Context(), args[0])
			if err != nil {
				return err
			}
			return e.print(st, func(w io.Writer) {
				printRule(w, st.Rule)
				if st.Ack != nil {
					line(w, "  %d of %d connected verifiers have applied it", st.Ack.Acknowledged, st.Ack.Verifiers)
				}
				printAWS(w, st.AWS)
				printRefused(w, st.Refusals)
			})
		},
	}
}

func printRefused(w io.Writer, r *wire.Refused) {
	if r == nil {
		return
	}
	line(w, "  refused because of it, as verifiers report: %d tokens, %d times", r.Tokens, r.Total)
	for _, v := range r.By {
		line(w, "    %s (%s, %s): %d tokens, %d times", v.Name, v.Principal, v.Verifier, v.Tokens, v.Refusals)
		for _, jti := range v.TokenIDs {
			line(w, "      %s", jti)
		}
		if v.More || v.Tokens > len(v.TokenIDs) {
			line(w, "      and others; the audit log has a record of each report")
		}
	}
	if r.Incomplete != "" {
		line(w, "    note: %s", r.Incomplete)
	}
}

func (e *env) watchCommand(a *access) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "follow the revocation feed until interrupted", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := a.connect("writ:revoke:read")
			if err != nil {
				return err
			}
			return e.watch(c.Context(), admin)
		},
	}
}

func (e *env) watch(ctx context.Context, admin *client.Admin) error {
	err := admin.Watch(ctx, client.Watch{Handle: func(ev client.FeedEvent) error { return e.feedEvent(ev.Event) }})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // interrupted, which is how watching ends
	}
	return err
}

func (e *env) feedEvent(ev revocation.Event) error {
	out := struct {
		Type     string                `json:"type"`
		Position string                `json:"position,omitempty"`
		Rule     *revocation.Rule      `json:"rule,omitempty"`
		Lift     *revocation.Lift      `json:"lift,omitempty"`
		Beat     *revocation.Heartbeat `json:"heartbeat,omitempty"`
	}{Type: string(ev.Type), Rule: ev.Rule, Lift: ev.Lift, Beat: ev.Heartbeat}
	if !ev.Position.IsZero() {
		out.Position = ev.Position.String()
	}
	if e.json { // a line each, for those who read a stream
		if err := json.NewEncoder(e.out).Encode(out); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		return nil
	}
	return e.print(out, func(w io.Writer) {
		switch {
		case ev.Rule != nil:
			line(w, "%s rule %s %s %s", cmp.Or(out.Position, "local"), ev.Rule.ID, ev.Rule.Selector, ev.Rule.Value)
		case ev.Lift != nil:
			line(w, "%s lift of %s", cmp.Or(out.Position, "local"), ev.Lift.RuleID)
		case ev.Heartbeat != nil:
			line(w, "heartbeat at %s, tail confirmed %d ms ago", ev.Heartbeat.Position, ev.Heartbeat.ConfirmedAgoMS)
		default:
			line(w, "%s %s", out.Position, ev.Type)
		}
	})
}

func (e *env) liftCommand(a *access) *cobra.Command {
	var reason string
	var apply bool
	c := &cobra.Command{
		Use: "lift ID", Short: "end a quarantine, or a rule before its time (a dry run until --apply)", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			admin, err := a.connect("writ:revoke:read", "writ:lift:**")
			if err != nil {
				return err
			}
			resp, err := admin.Lift(c.Context(), args[0], wire.LiftRequest{Reason: reason, Apply: apply})
			if err != nil {
				return err
			}
			return e.print(resp, func(w io.Writer) {
				printRule(w, resp.Rule)
				if resp.Applied {
					line(w, "  lifted, for good; durability %s %s", resp.Durability, resp.Position)
				} else {
					line(w, "  nothing was changed; --apply lifts it, for good")
				}
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	c.Flags().BoolVar(&apply, "apply", false, "do it")
	return c
}

func (e *env) verifiersCommand(a *access) *cobra.Command {
	return &cobra.Command{
		Use: "verifiers", Short: "list the connected verifiers and how far each has got", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := a.connect("writ:revoke:read")
			if err != nil {
				return err
			}
			list, err := admin.Verifiers(c.Context())
			if err != nil {
				return err
			}
			return e.print(list, func(w io.Writer) {
				line(w, "tail %s, %d verifiers", list.Position, len(list.Verifiers))
				for _, v := range list.Verifiers {
					line(w, "%s  %s  %s, %d behind", v.ID, v.Name, progressOf(v), v.Behind)
				}
			})
		},
	}
}
