package revocation

import (
	"errors"
	"iter"
	"time"

	"github.com/writbroker/writ/token"
)

// Options of an Index.
type Options struct {
	// Retain is how long a lineage is remembered after a later one was opened; at
	// least the longest life of a token plus clock skew. 0 means seven days.
	Retain time.Duration
	// ForeignSkew is how far an identity source's clock may be ahead of ours: a
	// foreign token that says it was issued up to this long after a rule is still
	// refused. 0 means 30 seconds.
	ForeignSkew time.Duration
}

// Index answers from memory whether a token is revoked. All methods may be called
// concurrently; readers never block.
type Index struct{}

// Hit says which rule revoked a token.
type Hit struct {
	RuleID     string
	Selector   Selector
	Value      string
	Quarantine bool
	CreatedAt  time.Time
}

// ForeignToken is what a rule about principals looks at in a token that an
// identity source issued.
type ForeignToken struct {
	Subject  string   // the principal's id, with its source's prefix
	Actors   []string // those of its act chain
	IssuedAt time.Time
	TokenID  string
}

// NewIndex makes an empty index.
func NewIndex(Options) *Index { return &Index{} }

// Apply takes events in the order of the log.
func (x *Index) Apply(events ...Event) error { return errors.New("revocation: being written") }

// Position is the place in the log up to which everything is applied. A minter
// reads it before its first check.
func (x *Index) Position() token.Rev { return token.Rev{} }

// Covers reports whether what had been applied at position a includes what lies
// at position b.
func (x *Index) Covers(a, b token.Rev) bool { return false }

// Revoked reports whether a rule revokes the token that carries these claims and
// was signed by this key.
func (x *Index) Revoked(c *token.Claims, kid string) (*Hit, bool) { return nil, false }

// RefusesForeign reports whether a rule refuses an identity source's token.
func (x *Index) RefusesForeign(t ForeignToken) (*Hit, bool) { return nil, false }

// Quarantined reports whether one of these principals is under quarantine.
func (x *Index) Quarantined(ids ...string) (*Hit, bool) { return nil, false }

// Rule returns a live rule.
func (x *Index) Rule(id string) (Rule, bool) { return Rule{}, false }

// Rules yields every live rule, in no particular order.
func (x *Index) Rules() iter.Seq[Rule] { return func(func(Rule) bool) {} }

// Len is the number of live rules.
func (x *Index) Len() int { return 0 }

// Lifts lists what was lifted.
func (x *Index) Lifts() []Lift { return nil }

// Lineages lists the known lineages, oldest first.
func (x *Index) Lineages() []Lineage { return nil }

// Snapshots yields everything in parts of at most maxRules rules.
func (x *Index) Snapshots(maxRules int) iter.Seq[Snapshot] { return func(func(Snapshot) bool) {} }

// Snapshot returns everything in one part.
func (x *Index) Snapshot() Snapshot { return Snapshot{} }

// Merge adds a snapshot.
func (x *Index) Merge(s Snapshot) error { return nil }

// Sweep drops what has expired.
func (x *Index) Sweep(now time.Time) (dropped int) { return 0 }
