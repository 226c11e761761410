// Package ststest is an STS over real HTTP for tests: the query protocol behind the SDK's own
// client, with the rules that AWS documents for what it is asked (names, tags, policies, packed
// size, durations, trust), faults on demand, and a record of every call. It verifies web
// identities against an issuer's published keys. What it hands out opens nothing. Only tests
// import it.
package ststest
