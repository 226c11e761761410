package audit

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
)

// Checkpoint is a signed statement of a log's head: the record Seq of log Log has
// the hash Hash, and through it so have all before it.
type Checkpoint struct {
	Log       string    `json:"log"`
	Seq       uint64    `json:"seq"`
	Hash      string    `json:"hash"` // base64url SHA-256 of the record's line
	Time      time.Time `json:"time"`
	Signature string    `json:"signature"` // base64url Ed25519
}

// signed is what the signature covers. No field but the last can hold a newline
// without failing to verify, so two checkpoints never share a text.
func (c *Checkpoint) signed() []byte {
	return fmt.Appendf(nil, "writ-audit-checkpoint\n%q\n%d\n%q\n%s\n",
		c.Log, c.Seq, c.Hash, c.Time.UTC().Format(time.RFC3339Nano))
}

// Verify reports whether the records key signed the checkpoint.
func (c *Checkpoint) Verify(pub ed25519.PublicKey) bool {
	signature, err := base64.RawURLEncoding.Strict().DecodeString(c.Signature)
	return err == nil && len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, c.signed(), signature)
}

func signCheckpoint(signer crypto.Signer, c Checkpoint) (Checkpoint, error) {
	signature, err := signer.Sign(nil, c.signed(), crypto.Hash(0))
	if err != nil {
		return c, fmt.Errorf("signing audit checkpoint: %w", err)
	}
	c.Signature = base64.RawURLEncoding.EncodeToString(signature)
	return c, nil
}

// checkpointLine is the part of a checkpoint's line that Verify reads.
type checkpointLine struct {
	Kind       Kind        `json:"kind"`
	Checkpoint *Checkpoint `json:"checkpoint"`
}

// body is the line of a checkpoint after its head.
func (c *Checkpoint) body() ([]byte, error) {
	own, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encoding audit checkpoint: %w", err)
	}
	return fmt.Appendf(nil, `"time":%q,"kind":%q,"checkpoint":%s}`+"\n",
		c.Time.UTC().Format(timeFormat), KindCheckpoint, own), nil
}
