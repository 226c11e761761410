package revocation

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/token"
)

// Selector says which property of a token a rule looks at.
type Selector string

// The selectors. A rule has exactly one.
const (
	SelectToken    Selector = "token"    // a jti: that token and its descendants
	SelectSubject  Selector = "subject"  // sub
	SelectAgent    Selector = "agent"    // client_id, any act.sub, or sub
	SelectTask     Selector = "task"     // txn
	SelectIssuer   Selector = "issuer"   // an identity source, by its subject_prefix
	SelectRole     Selector = "role"     // any of roles
	SelectAudience Selector = "audience" // any of aud
	SelectKey      Selector = "key"      // kid, an ancestor's too; ignores rev
	SelectScope    Selector = "scope"    // any scope that overlaps it
	SelectPolicy   Selector = "policy"   // pol; ignores rev
	SelectAll      Selector = "all"      // every token; the value is empty
)

// Selectors lists every selector, in the order of their codes in log records.
func Selectors() []Selector {
	return []Selector{SelectToken, SelectSubject, SelectAgent, SelectTask, SelectIssuer, SelectRole,
		SelectAudience, SelectKey, SelectScope, SelectPolicy, SelectAll}
}

// Limits of a rule's parts, in bytes and in number.
const (
	MaxValue   = 1024
	MaxReason  = 1024
	MaxBy      = 1024
	MaxEntries = 64 // lineages that a rule or lift remembers; the oldest go first, which proves less
)

// Errors of rules.
var (
	ErrSelector = errors.New("unknown selector")
	ErrValue    = errors.New("value does not fit the selector")
	ErrID       = errors.New("id is not a canonical UUID")
	ErrRule     = errors.New("rule is not valid")
)

// Rule revokes what its selector and value match. But for Entries it never
// changes once it has an id.
type Rule struct {
	ID       string // UUIDv7, canonical text
	Selector Selector
	Value    string
	// Quarantine refuses issuance to whom it names until it is lifted; it does
	// not by itself revoke issued tokens. Selectors: subject, agent, issuer, all.
	Quarantine bool
	CreatedAt  time.Time // kept to the millisecond
	ExpiresAt  time.Time // kept to the millisecond; zero (never) exactly for a quarantine
	Reason, By string
	Entries    []token.Rev // where it entered the log, one a lineage; empty while it is only local
}

// Validate reports what makes the rule unusable. The errors are for the person
// who wrote it.
func (r *Rule) Validate() error {
	if _, ok := parseUUID(r.ID); !ok {
		return fmt.Errorf("%w: %q", ErrID, r.ID)
	}
	if err := CheckSelector(r.Selector, r.Value, r.Quarantine); err != nil {
		return err
	}
	switch {
	case !storable(r.CreatedAt):
		return fmt.Errorf("%w: created_at is missing or out of range", ErrRule)
	case r.Quarantine && !r.ExpiresAt.IsZero():
		return fmt.Errorf("%w: a quarantine lasts until it is lifted, it has no expires_at", ErrRule)
	case !r.Quarantine && (!storable(r.ExpiresAt) || r.ExpiresAt.Before(r.CreatedAt)):
		return fmt.Errorf("%w: expires_at is missing, out of range or before created_at", ErrRule)
	case !goodText(r.Reason, MaxReason) || !goodText(r.By, MaxBy):
		return fmt.Errorf("%w: reason and by are at most %d bytes of printable text", ErrRule, MaxReason)
	case len(r.Entries) > MaxEntries:
		return fmt.Errorf("%w: more than %d entries", ErrRule, MaxEntries)
	}
	return checkEntries(r.Entries)
}

// CheckSelector reports whether a value fits its selector; the message says what
// would.
func CheckSelector(s Selector, value string, quarantine bool) error {
	if quarantine && s != SelectSubject && s != SelectAgent && s != SelectIssuer && s != SelectAll {
		return fmt.Errorf("%w: only a subject, an agent, an issuer or all can be quarantined, not %q", ErrSelector, s)
	}
	switch s {
	case SelectAll:
		if value != "" {
			return fmt.Errorf("%w: \"all\" takes no value", ErrValue)
		}
		return nil
	case SelectScope:
		if _, err := scopes.Parse(value); err != nil {
			return fmt.Errorf("%w: %w", ErrValue, err)
		}
	case SelectIssuer:
		if !strings.HasSuffix(value, ":") && !strings.HasSuffix(value, "/") {
			return fmt.Errorf("%w: an issuer is named by its subject_prefix, which ends in ':' or '/'", ErrValue)
		}
	case SelectToken, SelectSubject, SelectAgent, SelectTask, SelectRole, SelectAudience, SelectKey, SelectPolicy:
	default:
		return fmt.Errorf("%w: %q", ErrSelector, s)
	}
	if value == "" || !goodText(value, MaxValue) {
		return fmt.Errorf("%w: it must be 1 to %d bytes of printable text", ErrValue, MaxValue)
	}
	return nil
}

// Lift ends a rule for good: a lifted rule never comes back, whoever still has it.
type Lift struct {
	ID     string // UUIDv7, canonical text
	RuleID string
	At     time.Time // kept to the millisecond
	// ExpiresAt is the rule's: until then a copy of the rule may turn up, and the
	// lift must be known. Zero is never, as for a quarantine.
	ExpiresAt  time.Time
	Reason, By string
	Entries    []token.Rev
}

// Validate reports what makes the lift unusable.
func (l *Lift) Validate() error {
	if _, ok := parseUUID(l.ID); !ok {
		return fmt.Errorf("%w: %q", ErrID, l.ID)
	}
	if _, ok := parseUUID(l.RuleID); !ok {
		return fmt.Errorf("%w: %q", ErrID, l.RuleID)
	}
	switch {
	case !storable(l.At), !l.ExpiresAt.IsZero() && !storable(l.ExpiresAt):
		return fmt.Errorf("%w: at or expires_at is missing or out of range", ErrRule)
	case !goodText(l.Reason, MaxReason) || !goodText(l.By, MaxBy):
		return fmt.Errorf("%w: reason and by are at most %d bytes of printable text", ErrRule, MaxReason)
	case len(l.Entries) > MaxEntries:
		return fmt.Errorf("%w: more than %d entries", ErrRule, MaxEntries)
	}
	return checkEntries(l.Entries)
}

// Lineage is one unbroken run of the log.
type Lineage struct {
	ID     uint64
	Marker uint64 // the seq of its marker; positions below it are never stamped
	// Base is what lies before the marker in the log, as last positions of other
	// lineages. The first is the lineage that was complete before this one, and
	// stands for everything that lies before that one's marker too; the others
	// were never completed. Empty where the log began, or was trimmed.
	Base     []token.Rev
	OpenedAt time.Time // by the opener's clock; orders lineages for trimming, and nothing else
}

// Validate reports what makes the lineage unusable.
func (l *Lineage) Validate() error {
	switch {
	case l.ID == 0 || l.Marker == 0:
		return fmt.Errorf("%w: a lineage has an id and a marker", ErrRule)
	case len(l.Base) > MaxEntries:
		return fmt.Errorf("%w: more than %d lineages in a base", ErrRule, MaxEntries)
	case !storable(l.OpenedAt):
		return fmt.Errorf("%w: opened_at is missing or out of range", ErrRule)
	}
	for _, b := range l.Base {
		if b.Lineage == l.ID {
			return fmt.Errorf("%w: a lineage is not its own base", ErrRule)
		}
	}
	return checkEntries(l.Base)
}

func checkEntries(entries []token.Rev) error {
	for i, e := range entries {
		if e.Lineage == 0 || e.Seq == 0 {
			return fmt.Errorf("%w: an entry without lineage or seq", ErrRule)
		}
		for _, other := range entries[:i] {
			if other.Lineage == e.Lineage {
				return fmt.Errorf("%w: two entries in one lineage", ErrRule)
			}
		}
	}
	return nil
}

// MergeEntries adds one place to a list of them, keeping the earliest of each
// lineage. It never changes the array behind entries.
func MergeEntries(entries []token.Rev, at token.Rev) []token.Rev {
	if at.Lineage == 0 || at.Seq == 0 {
		return entries
	}
	for i, e := range entries {
		if e.Lineage != at.Lineage {
			continue
		}
		if e.Seq <= at.Seq {
			return entries
		}
		out := append([]token.Rev(nil), entries...)
		out[i] = at
		return out
	}
	if len(entries) >= MaxEntries {
		entries = entries[len(entries)-MaxEntries+1:]
	}
	return append(append(make([]token.Rev, 0, len(entries)+1), entries...), at)
}

// maxMillis is the year 9999: what fits 48 bits and what RFC 3339 can print.
const maxMillis = 253402300799999

func storable(t time.Time) bool {
	ms := t.UnixMilli()
	return !t.IsZero() && ms > 0 && ms <= maxMillis
}

func goodText(s string, limit int) bool { //nolint:unparam // the limits are equal today, and named apart
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, unicode.IsControl) < 0
}
