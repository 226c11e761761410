// Package roll keeps a replica from confirming the revocation log while another may hold
// what the log does not: a rule that was accepted while the store was away, or one that
// the store has lost since.
//
// It owns one cell of the shared store. Each replica keeps a mark there, in which it
// vouches: "after I had read these marks of yours, all that I know was in this lineage of
// the log". A replica that finds one of its own marks there knows, by its own clock, a moment
// up to which the other is good; it confirms no further than the least of these. Clocks of two replicas never meet, an old mark that is played back
// says only what it said, and one of a lineage that is gone says nothing.
//
// A replica that stops says so. One that falls silent holds the others up for
// Config.Absence, then they go on without it and say so: from then on until it is back, what it alone
// knows is not known to them. It must never decide about access by itself.
//
// revocation/journal asks it before and after it follows the log; cmd/writ wires it.
package roll
