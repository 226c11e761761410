// Package fleet lets the replicas of a broker know of each other's verifiers, so that
// whoever revokes sees on one replica how far it has got on all.
//
// It owns three cells of the shared store a replica: a place in the list of replicas, who
// is connected (written when that changes), and how far each has got and which of the
// broker's keys it holds (written at most every Config.Every while something changes, else
// every Config.KeepAlive). It must never decide about access: what it carries serves
// operators, and can put off a scheduled rotation, up to a deadline. A replica that has
// fallen silent is dropped only while the store answers: where the store is away, nobody can
// say that the others' verifiers are gone, and they count as not having acknowledged.
//
// Clocks of two replicas never meet: what is told is how long ago. Only cmd/writ runs it.
package fleet
