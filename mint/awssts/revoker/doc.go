// Package revoker takes AWS sessions back in AWS: it has the roles deny what the broker says is
// to be denied, and keeps them doing so.
//
// It owns the inline policy denylist.PolicyName of each role, and the plan: what should stand
// in which role, and which rules were lifted. The plan is a set that only grows until its parts
// are spent, so that those of two replicas join in any order. It lies in a store.Cell, which
// authenticates it and outlives a restart; each replica holds it in memory too, and puts back
// what the store lost. IAM is last-write-wins, and what it reads may be old: so that whoever
// writes a policy writes all of the plan, reads it back until it stays for a while, and looks
// at it again every minute, for good, on every replica.
//
// It never widens what a role allows: it writes denies alone, touches no other policy, and
// writes over no policy of its name that somebody else wrote. It drops a deny only when that
// is spent, or its rule was lifted. A role that it cannot be sure is the one meant, by its
// whole ARN, it leaves alone.
//
// Its credentials are its own: who may write a role's policies may do anything that the role's
// boundary leaves. The broker calls Deny, Wait, Wake and Cutoff; Run does the work.
package revoker
