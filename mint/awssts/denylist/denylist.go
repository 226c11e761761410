// Package denylist is the inline policy of a role that takes its sessions back: one policy a
// role, however many sessions are revoked and however many replicas write.
//
// It owns what that policy says (Entry), and how a policy that is there and entries that are
// new become one document (Merge): joined, without what is spent, within AWS's limit. The
// document alone holds all that is needed to merge again, so that whoever reads it late, or
// writes over what another wrote, puts back nothing and loses nothing that it knows. Merging
// is idempotent, and its order does not matter; where the limit forces a wider deny, it says
// so, and denies more, never less.
//
// It is pure: no clock, no network. Its caller is the adapter that reads and writes roles'
// policies.
package denylist

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// PolicyName is the name of the inline policy.
const PolicyName = "writ-revoked-sessions"

// MaxInlineSize is how many characters, white space aside, the inline policies of a role have
// in all.
const MaxInlineSize = 10240

// Kind is what an entry finds sessions by.
type Kind uint8

// The kinds, from the narrowest to the widest.
const (
	SessionName    Kind = iota + 1 // aws:userid: one session, by its name
	SourceIdentity                 // aws:SourceIdentity: all of an agent or subject
	WholeRole                      // every session of the role
)

func (k Kind) String() string {
	switch k {
	case SessionName:
		return "session"
	case SourceIdentity:
		return "source identity"
	case WholeRole:
		return "whole role"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Entry denies everything to the sessions that it finds, as far as they were issued before
// the cutoff.
type Entry struct {
	Kind  Kind
	Value string // empty for WholeRole
	// Identity is, of a SessionName, the session's source identity where that is known. It is not
	// written, and what Merge and Parse give does not have it.
	Identity string
	// Before is the cutoff. It is rounded up to the second.
	Before time.Time
	// Expires is when the last of these sessions is over. It is rounded up to the second; the
	// entry is spent then.
	Expires time.Time
}

var (
	// ErrForeign says that a policy of the name is there which Merge did not write. Nobody
	// writes over it.
	ErrForeign = errors.New("the role's policy " + PolicyName + " was written by somebody else")
	// ErrNoRoom says that the role's other inline policies leave no room for even the widest
	// deny.
	ErrNoRoom = errors.New("the role's inline policies leave no room")
	// ErrEntry says that an entry cannot be written.
	ErrEntry = errors.New("not a valid entry")
)

// Result of Merge.
type Result struct {
	Document string  // "" where the policy is to be removed
	Entries  []Entry // what it says, in its order
	Changed  bool    // the document is not the one that was there
	Dropped  int     // entries that were spent
	// Widened says how the deny is wider than was asked, for a person; "" if it is not.
	Widened string
}

// Merge joins what the policy that is there says ("" if there is none) with new entries.
// Others is the size of the role's other inline policies. The result depends on what both say
// and on now, and not on their order, unless the limit forces it to be wider. Errors wrap
// ErrForeign, ErrNoRoom and ErrEntry.
//
// A session whose Identity is known, and denied for as long, is not named besides. The document
// does not say whose a name is, so that there the order shows until all entries are added again.
func Merge(current string, add []Entry, now time.Time, others int) (*Result, error) {
	there, err := Parse(current)
	if err != nil {
		return nil, err
	}
	all := there
	identities := map[string]string{} // by the session's name
	for _, e := range add {
		if e, err = e.Rounded(); err != nil {
			return nil, err
		}
		if e.Identity != "" {
			identities[e.Value] = e.Identity
		}
		all = append(all, e)
	}
	for i := range all {
		if all[i].Kind == SessionName {
			all[i].Identity = identities[all[i].Value]
		}
	}
	r := &Result{}
	live := slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return !e.Expires.After(now) })
	r.Dropped = len(all) - len(live)
	r.Entries, r.Widened, err = fit(join(live), MaxInlineSize-others)
	if err != nil {
		return nil, err
	}
	for i := range r.Entries {
		r.Entries[i].Identity = ""
	}
	r.Document = Encode(r.Entries)
	r.Changed = r.Document != current
	return r, nil
}

// Rounded is the entry as it is written: its times are rounded up. The error wraps ErrEntry.
func (e Entry) Rounded() (Entry, error) {
	switch {
	case e.Kind < SessionName || e.Kind > WholeRole || (e.Kind == WholeRole) != (e.Value == ""):
		return e, fmt.Errorf("%w: %s %q", ErrEntry, e.Kind, e.Value)
	case strings.ContainsFunc(e.Value, func(r rune) bool { return !isName(r) }) || len(e.Value) > 64:
		return e, fmt.Errorf("%w: %q is no name of a session or an identity", ErrEntry, e.Value)
	case e.Identity != "" && e.Kind != SessionName:
		return e, fmt.Errorf("%w: a %s has no identity besides", ErrEntry, e.Kind)
	case e.Before.Unix() <= 0 || e.Expires.Before(e.Before):
		return e, fmt.Errorf("%w: it ends before its cutoff, or has none", ErrEntry)
	}
	e.Before, e.Expires = up(e.Before), up(e.Expires)
	return e, nil
}

func isName(r rune) bool {
	return r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+=,.@-", r))
}

func up(t time.Time) time.Time { return t.UTC().Add(time.Second - 1).Truncate(time.Second) }

// join drops what another entry holds: one that finds the same sessions, or all, with no
// earlier cutoff and no earlier end. Nothing else may be put together, or the order in which
// entries came would show.
func join(all []Entry) []Entry {
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Before.Compare(b.Before), a.Expires.Compare(b.Expires), strings.Compare(a.Value, b.Value))
	})
	all = slices.Compact(all)
	var joined []Entry
	for _, e := range all {
		if !slices.ContainsFunc(all, func(f Entry) bool { return f != e && f.Holds(e) }) {
			joined = append(joined, e)
		}
	}
	return joined
}

// Holds reports whether all that f denies is denied by e, for as long. Both are Rounded.
func (e Entry) Holds(f Entry) bool {
	finds := e.Kind == WholeRole || e.Kind == f.Kind && e.Value == f.Value ||
		e.Kind == SourceIdentity && f.Kind == SessionName && e.Value == f.Identity
	return finds && !e.Before.Before(f.Before) && !e.Expires.Before(f.Expires)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fit widens entries until they fit: first those of a kind get one cutoff, so that they share
// a statement; then sessions are denied by their source identities, those with the most first,
// so that who has made many loses his own; then the whole role is denied.
func fit(entries []Entry, room int) ([]Entry, string, error) {
	if len(entries) == 0 || len(Encode(entries)) <= room {
		return entries, "", nil
	}
	if shared := share(entries); len(Encode(shared)) <= room {
		return shared, fmt.Sprintf("%d denies share their latest cutoff, since each with its own has no room in the role's inline policies", len(shared)), nil
	}
	narrow := entries
	var wide []string
	for identity := mostNamed(narrow); identity != ""; identity = mostNamed(narrow) {
		wide = append(wide, identity)
		narrow = join(slices.Concat(narrow, []Entry{ofIdentity(narrow, identity)}))
		for _, try := range [][]Entry{narrow, share(narrow)} {
			if len(Encode(try)) <= room {
				return try, fmt.Sprintf("every session of source identity %s is denied, since %d denies have no room in the role's inline policies",
					strings.Join(wide, ", "), len(entries)), nil
			}
		}
	}
	whole := Entry{Kind: WholeRole}
	for _, e := range entries {
		whole.Before, whole.Expires = later(whole.Before, e.Before), later(whole.Expires, e.Expires)
	}
	if one := []Entry{whole}; len(Encode(one)) <= room {
		return one, fmt.Sprintf("every session of the role issued before %s is denied, since %d denies have no room in the role's inline policies",
			whole.Before.Format(time.RFC3339), len(entries)), nil
	}
	return nil, "", fmt.Errorf("%w: %d characters are left; remove other inline policies of the role, or make managed ones of them", ErrNoRoom, max(0, room))
}

// share gives entries of a kind their latest cutoff and end.
func share(entries []Entry) []Entry {
	shared := slices.Clone(entries)
	for i := range shared {
		for _, other := range entries {
			if other.Kind == shared[i].Kind {
				shared[i].Before, shared[i].Expires = later(shared[i].Before, other.Before), later(shared[i].Expires, other.Expires)
			}
		}
	}
	return join(shared)
}

// mostNamed is the source identity that most sessions are of which are denied by their names;
// "" if none has two.
func mostNamed(entries []Entry) (most string) {
	names := map[string]int{}
	for _, e := range entries {
		if e.Identity != "" {
			names[e.Identity]++
		}
	}
	for identity, n := range names {
		if n > max(1, names[most]) || n > 1 && n == names[most] && identity < most {
			most = identity
		}
	}
	return most
}

// ofIdentity denies an identity for all its sessions that are denied by their names.
func ofIdentity(entries []Entry, identity string) Entry {
	one := Entry{Kind: SourceIdentity, Value: identity}
	for _, e := range entries {
		if e.Identity == identity {
			one.Before, one.Expires = later(one.Before, e.Before), later(one.Expires, e.Expires)
		}
	}
	return one
}
