// Package policy decides what a verified principal may do, by rules kept as code.
//
// It owns the bundle (catalog, roles, bindings, profiles, denies, delegations, inventory, tests):
// its strict parsing, its compilation, its version, and the one decision that is made with it,
// [Bundle.Authorize]. It is pure: no clock, no I/O beyond the file system that [Load] is given, no
// log, no randomness. The same bundle and the same request give the same decision, always.
//
// A request for a pattern is a request for every resource that the pattern can match. Authorize
// splits it along the catalog's tag patterns, so that within a part every resource has the same
// tags; a part is allowed only if the grants whose conditions hold there cover all of it, for the
// subject and for every agent that acts, under the delegations' ceilings and the parent's scopes, and if
// no deny that applies overlaps it. A granted token therefore never permits a concrete access that
// Authorize, asked about that access alone, would refuse.
//
// Everything fails closed: a condition that cannot be evaluated grants nothing, and denies where it
// belongs to a deny; what is unknown is refused; a bundle with one fault is no bundle.
//
// Only this package fills a [Grant], and package mint makes tokens from nothing else. It is called by
// package broker, by the policy commands and by package audit (which keeps traces).
package policy
