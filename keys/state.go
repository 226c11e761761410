package keys

import (
	"crypto"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/writbroker/writ/token"
)

// Stage is where a key is in its life.
type Stage string

// The stages of a key. A key that is gone is in no state at all.
const (
	StageNext    Stage = "next"    // published, so that verifiers have it before it signs
	StageActive  Stage = "active"  // signs
	StageRetired Stage = "retired" // published while a token it signed can live
)

// MaxKeys bounds a ring. A schedule that could need more is refused.
const MaxKeys = 16

// KeyInfo is one key of a ring. It holds no secret: Sealed opens under custody only.
type KeyInfo struct {
	ID        string          `json:"kid"`
	Algorithm string          `json:"alg"`
	Stage     Stage           `json:"stage"`
	Public    json.RawMessage `json:"jwk"`
	Sealed    []byte          `json:"sealed,omitempty"`
	Custody   string          `json:"custody"`        // who can open it
	Born      uint64          `json:"born,omitempty"` // version of the state that it first stood in; what is sealed is bound to it

	Published time.Time `json:"published"`
	Activated time.Time `json:"activated,omitzero"`
	Retired   time.Time `json:"retired,omitzero"`
	DropAfter time.Time `json:"drop_after,omitzero"`
	Reason    string    `json:"reason,omitempty"` // why it was made or retired
}

// Key returns the public half as a verifier's key.
func (k KeyInfo) Key() (token.Key, error) {
	key, err := token.ParseJWK(k.Public)
	if err != nil {
		return token.Key{}, err
	}
	if key.ID != k.ID || key.Algorithm != k.Algorithm {
		return token.Key{}, fmt.Errorf("%w: key %s publishes another kid or algorithm", ErrState, k.ID)
	}
	return key, nil
}

// State is what replicas agree on. Version counts changes from 1.
type State struct {
	Version uint64    `json:"version"`
	Keys    []KeyInfo `json:"keys"`
}

// ErrState is a state that no replica could have written rightly.
var ErrState = errors.New("key ring state is not valid")

// Find returns the key in a stage that at most one key can be in.
func (s State) Find(stage Stage) (KeyInfo, bool) {
	i := slices.IndexFunc(s.Keys, func(k KeyInfo) bool { return k.Stage == stage })
	if i < 0 {
		return KeyInfo{}, false
	}
	return s.Keys[i], true
}

// Has reports whether a kid is in the ring.
func (s State) Has(kid string) bool {
	return slices.ContainsFunc(s.Keys, func(k KeyInfo) bool { return k.ID == kid })
}

// without returns a copy that lacks a key.
func (s State) without(kid string) State {
	s.Keys = slices.DeleteFunc(slices.Clone(s.Keys), func(k KeyInfo) bool { return k.ID == kid })
	return s
}

// validate reports whether the state keeps the rules of the stages.
func (s State) validate() error {
	count := map[Stage]int{}
	ids := map[string]bool{}
	for _, k := range s.Keys {
		switch k.Stage {
		case StageNext, StageActive, StageRetired:
		default:
			return fmt.Errorf("%w: key %s is in stage %q", ErrState, k.ID, k.Stage)
		}
		if k.ID == "" || ids[k.ID] {
			return fmt.Errorf("%w: a kid is empty or used twice", ErrState)
		}
		if k.Born > s.Version {
			return fmt.Errorf("%w: key %s was born after it", ErrState, k.ID)
		}
		if k.Stage == StageRetired && k.DropAfter.IsZero() {
			return fmt.Errorf("%w: retired key %s would never go", ErrState, k.ID)
		}
		ids[k.ID] = true
		count[k.Stage]++
	}
	switch {
	case s.Version == 0:
		return fmt.Errorf("%w: no version", ErrState)
	case count[StageActive] != 1:
		return fmt.Errorf("%w: %d active keys", ErrState, count[StageActive])
	case count[StageNext] > 1:
		return fmt.Errorf("%w: %d next keys", ErrState, count[StageNext])
	case len(s.Keys) > MaxKeys:
		return fmt.Errorf("%w: %d keys", ErrState, len(s.Keys))
	}
	return nil
}

func decodeState(data []byte) (State, error) {
	var s State
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	return s, s.validate()
}

// KeyID derives a kid from a public key: 60 bits of its thumbprint (RFC 7638) in
// lower-case base32. Short, since a token carries it for each of its ancestors;
// free of '-' at its start, since people type it after a flag.
func KeyID(pub crypto.PublicKey) (string, error) {
	thumbprint, err := token.Thumbprint(pub)
	if err != nil {
		return "", err
	}
	const length = 12
	sum := sha256.Sum256([]byte("writ kid\x00" + thumbprint))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:length]), nil
}
