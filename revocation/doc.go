// Package revocation decides whether a token has been taken back.
//
// It owns rules (what is revoked), lineages (which rules a minter had applied),
// the in-memory Index that answers from them, and the form in which all of that
// travels: log records, and the events of the feed. It is pure: no clock, no I/O,
// no logger. Its durable side is revocation/journal; callers are the broker, the
// feed's handlers and the verifier.
//
// The rule: a token that a rule matches is revoked unless the token's rev proves
// that its minter had applied the rule. No clock is compared. A rev is a place in
// the log of rules, (lineage, seq). A rule knows each place at which it entered
// the log. It is proven applied at (L, t) if it entered L at or before t, or if it
// lies before L's marker in the log; a lineage remembers how far that reaches, so
// what was written behind a fork proves nothing on the other side. Rules about a
// key or a policy version are never proven applied: whoever holds a leaked key
// can write any rev.
//
// A minter must read Index.Position before it checks anything, and stamp that: a
// rule that lands in between then lies behind the stamp.
package revocation
