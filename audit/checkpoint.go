package audit

import "time"

// Checkpoint is a signed statement of a log's head: the record Seq of log Log has
// the hash Hash, and through it so have all before it.
type Checkpoint struct {
	Log       string    `json:"log"`
	Seq       uint64    `json:"seq"`
	Hash      string    `json:"hash"` // base64url SHA-256 of the record's line
	Time      time.Time `json:"time"`
	Signature string    `json:"signature"` // base64url Ed25519
}
