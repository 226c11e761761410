// Package scopes is Writ's scope algebra: what a credential may do, written as
// text, and the questions that everybody asks of it.
//
// A scope is tool:action:resource, for instance warehouse:read:sales/eu/*. Its
// resource is a pattern over segments joined by '/': a literal, prefix* (the
// rest may be empty), * (any one segment) and, as the last one, ** (one or
// more segments). The action * means every action that the tool has.
//
// A scope denotes the set of concrete accesses (tool, action, resource) that it
// matches, where a resource may have any number of segments of any length; the
// limits below bound what is written down, not what a pattern means. All
// answers are about those sets. A segment can take more values than a union
// can list, so a union covers a pattern exactly when, for each action and each
// number of segments, one member does. That holds for fewer than 102 members
// (the values of one byte in a case-folded resource); above it, CoversAll may
// say "not covered" of a union that spells out every next byte one by one,
// which errs towards refusing.
//
// The package is pure: no clock, no I/O, no state, nothing of ours imported.
// It fails closed: the zero Scope covers, matches and overlaps nothing, the
// zero Set is empty, and whatever is over a limit is an error, never a cut.
// It never decides policy, and it never learns a tool's actions by itself:
// whoever asks about * gives them.
//
// All types are immutable values and may be used concurrently.
package scopes
