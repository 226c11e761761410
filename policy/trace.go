package policy

// EntryKind says what sort of rule a trace entry is about.
type EntryKind string

// The kinds of trace entries.
const (
	EntryPart           EntryKind = "part" // a part of the request: its label, pattern and tags
	EntryTag            EntryKind = "tag"
	EntryBinding        EntryKind = "binding"
	EntryGrant          EntryKind = "grant"
	EntryDeny           EntryKind = "deny"
	EntryDelegation     EntryKind = "delegation"
	EntryCeiling        EntryKind = "ceiling"
	EntryParent         EntryKind = "parent"
	EntryProfile        EntryKind = "profile"
	EntryInventory      EntryKind = "inventory"
	EntryTTL            EntryKind = "ttl"
	EntryConditionError EntryKind = "condition-error"
	EntryRequest        EntryKind = "request" // what is wrong with the request itself
)

// Entry is one line of a trace. Fields that do not apply are empty.
type Entry struct {
	Kind      EntryKind `json:"kind"`
	Rule      string    `json:"rule,omitempty"`
	File      string    `json:"file,omitempty"`
	Line      int       `json:"line,omitempty"`
	Principal string    `json:"principal,omitempty"`
	// Part holds the labels of the parts it is about, separated by spaces.
	Part   string `json:"part,omitempty"`
	Effect string `json:"effect,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Trace names every rule that took part in a decision and what it did. It is cheap to carry and
// rendered only when read. It is immutable, and survives a round trip through JSON.
type Trace struct {
	entries []Entry
}

// Entries of the trace, in a fixed order.
func (t Trace) Entries() []Entry { return t.entries }
