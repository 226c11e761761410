// Package journal is the durable side of revocation on one replica.
//
// It owns three things. The journal file: what this replica was told or has read,
// synced before it is acknowledged, recovered after a kill. The way to the shared
// log: it follows the log into the index, and whenever continuity is in doubt puts
// back what is missing and begins a new lineage. The stream of events for readers
// of the feed.
//
// What is accepted is never lost: it is in the file before it is acknowledged, or
// in the log. What the log loses, every journal that has it puts back, with the
// places it had; but never what was lifted or has expired. Until a rule is in the
// log it has no place there, so it hits every token that it matches.
//
// The broker appends, the feed's handlers subscribe, cmd/writ runs it. It decides
// nothing about tokens: that is package revocation.
package journal
