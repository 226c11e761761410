package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/writbroker/writ/audit"
	"github.com/writbroker/writ/identity"
	"github.com/writbroker/writ/revocation"
)

// Bounds of what verifiers report of their refusals.
const (
	MaxRefusals = 256 // in one report

	refusalRate     = 20 // reports a second of one principal's verifiers, and so audit records
	refusalBurst    = 100
	maxRefusedRules = 1000 // of which this replica notes tokens at a time
	maxRefusedNames = 2000 // pairs of verifier and token, a rule
	maxShownTokens  = 20
	maxAuditTokens  = 64
	quarantineKept  = 30 * 24 * time.Hour
	ledgerRefusals  = "refusals/"
	moreTokens      = "+" // stands for the tokens that are not noted
	refusalSep      = "\n"
)

// Refusal is a token that a verifier refused because of a rule.
type Refusal struct {
	RuleID, TokenID string
	At              time.Time // by the verifier's clock: informative
}

// RefusalReport is what a verifier refused since its last report.
type RefusalReport struct {
	Verifier, Name string
	Refusals       []Refusal
	Dropped        int64 // refusals that it did not keep
}

// RefusedBy is what one verifier refused because of one rule.
type RefusedBy struct {
	Principal, Verifier, Name string
	Refusals                  int64
	TokenIDs                  []string // the first
	Tokens                    int      // distinct ones that are known
	More                      bool     // there were others
}

// refusals counts what verifiers refused, by rule, in the shared counts; in its own memory
// it keeps what bounds them.
type refusals struct {
	out *counts

	mu    sync.Mutex
	rules map[string]*refusedRule // guarded by mu
}

type refusedRule struct {
	expires time.Time
	names   map[string]int64
}

func newRefusals(out *counts) *refusals {
	return &refusals{out: out, rules: map[string]*refusedRule{}}
}

// note counts n refusals of a token; where there are too many names, without naming it.
func (f *refusals) note(rule *revocation.Rule, prefix, id string, n int64, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.rules[rule.ID]
	if r == nil {
		if len(f.rules) >= maxRefusedRules {
			maps.DeleteFunc(f.rules, func(_ string, r *refusedRule) bool { return r.expires.Before(now) })
		}
		if len(f.rules) >= maxRefusedRules {
			return
		}
		r = &refusedRule{expires: rule.ExpiresAt, names: map[string]int64{}}
		if r.expires.IsZero() {
			r.expires = now.Add(quarantineKept)
		}
		f.rules[rule.ID] = r
	}
	name := prefix + id
	if _, known := r.names[name]; !known && len(r.names) >= maxRefusedNames {
		name = prefix + moreTokens
		if _, known := r.names[name]; !known && len(r.names) >= 2*maxRefusedNames {
			return
		}
	}
	r.names[name] += n
	f.out.add(ledgerRefusals+rule.ID, r.expires, name, n)
}

// own gives what this replica has noted of a rule.
func (f *refusals) own(rule string) map[string]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.rules[rule]; r != nil {
		return maps.Clone(r.names)
	}
	return nil
}

// ReportRefusals takes a verifier's report. A verifier reports for itself alone: its
// principal stands before its name. What names no rule of this list counts nothing.
func (b *Broker) ReportRefusals(ctx context.Context, op *Operator, in RefusalReport) error {
	if !reportName(in.Verifier, 1) || !reportName(in.Name, 0) || len(in.Refusals) > MaxRefusals {
		return requestError("a report names its verifier, and holds at most %d refusals", MaxRefusals)
	}
	now := b.cfg.Now()
	if wait := b.reports.take(op.Agent, now); wait > 0 {
		return &RateLimitError{RetryAfter: wait}
	}
	prefix := strings.Join([]string{op.Agent, in.Verifier, in.Name, ""}, refusalSep)
	perRule := map[string]int{}
	var tokens []string
	for _, r := range in.Refusals {
		rule, ok := b.cfg.Index.Rule(r.RuleID)
		if _, err := uuid.Parse(r.TokenID); !ok || err != nil || len(r.TokenID) != len(uuid.Nil.String()) {
			continue
		}
		perRule[rule.ID]++
		b.refusals.note(&rule, prefix, r.TokenID, 1, now)
		if len(tokens) < maxAuditTokens {
			tokens = append(tokens, r.TokenID)
		}
	}
	if len(perRule) == 0 {
		return nil
	}
	detail := map[string]string{
		"verifier": in.Verifier, "name": in.Name, "refused": strconv.Itoa(len(in.Refusals)), "jtis": strings.Join(tokens, " "),
		"rules": strings.Join(slices.Sorted(maps.Keys(perRule)), " "), "replica": b.cfg.Component,
	}
	if in.Dropped > 0 {
		detail["dropped"] = strconv.FormatInt(in.Dropped, 10)
	}
	e := audit.Event{
		Time: now, Kind: audit.KindUse, Outcome: audit.Deny, Error: "revoked",
		Subject: op.ID, ClientID: op.Agent, RemoteIP: op.IP, Detail: detail,
	}
	if len(tokens) == 1 {
		e.TokenID = tokens[0]
	}
	return b.append(ctx, e)
}

// reportName holds for text that can be a part of a count's name.
func reportName(s string, least int) bool {
	const most = 128
	return len(s) >= least && len(s) <= most && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

// Refused says which verifiers refused which tokens because of a rule, and why that may be
// too little.
func (b *Broker) Refused(ctx context.Context, rule string) (by []RefusedBy, incomplete string) {
	ctx, cancel := context.WithTimeout(ctx, previewTimeout)
	defer cancel()
	sums, err := b.refusals.sum(ctx, rule)
	if err != nil {
		incomplete = "the shared counts cannot be read: these are the reports that this replica took since its start"
		sums = b.refusals.own(rule)
	}
	at := map[string]*RefusedBy{}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		part := strings.Split(name, refusalSep)
		if len(part) != 4 {
			continue
		}
		key := strings.Join(part[:3], refusalSep)
		r := at[key]
		if r == nil {
			r = &RefusedBy{Principal: part[0], Verifier: part[1], Name: part[2]}
			at[key] = r
		}
		r.Refusals += sums[name]
		if part[3] == moreTokens {
			r.More = true
			continue
		}
		r.Tokens++
		if len(r.TokenIDs) < maxShownTokens {
			r.TokenIDs = append(r.TokenIDs, part[3])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(at)) {
		by = append(by, *at[key])
	}
	return by, incomplete
}

func (f *refusals) sum(ctx context.Context, rule string) (map[string]int64, error) {
	if f.out.tally == nil {
		return f.own(rule), nil
	}
	if err := f.out.flush(ctx); err != nil {
		return nil, err
	}
	sums, err := f.out.tally.Sum(ctx, ledgerRefusals+rule)
	if err != nil {
		return nil, fmt.Errorf("reading refusals: %w", err)
	}
	return sums, nil
}

// IsPerson reports whether a principal's identity source is one of people.
func (b *Broker) IsPerson(id string) bool {
	src, ok := b.cfg.Identity.SourceOf(id)
	return ok && src.Kind == identity.KindUser
}
