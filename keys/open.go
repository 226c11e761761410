package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/writbroker/writ/token"
)

// openKey is a private half that opened and signed its proof, and what it was
// opened from.
type openKey struct {
	signer token.Signer
	info   KeyInfo
}

// open returns the signer of a key, after it has proved that it is the private
// half of the public key it stands with. What opened once is kept: custody may
// be away when the key is needed.
func (r *Rotator) open(ctx context.Context, k KeyInfo) (token.Signer, error) {
	if have, ok := r.opened[k.ID]; ok && bytes.Equal(have.info.Sealed, k.Sealed) && bytes.Equal(have.info.Public, k.Public) && have.info.Algorithm == k.Algorithm && have.info.Born == k.Born {
		return have.signer, nil
	}
	custody := r.custody(k.Custody)
	if custody == nil {
		return nil, fmt.Errorf("%w: key %s is in the custody of %s, which is not configured here", ErrProof, k.ID, k.Custody)
	}
	signer, err := custody.Open(ctx, r.cfg.Ring, k)
	if err != nil {
		return nil, fmt.Errorf("opening key %s: %w", k.ID, err)
	}
	if err := prove(ctx, signer, k); err != nil {
		return nil, fmt.Errorf("opening key %s: %w", k.ID, err)
	}
	r.opened[k.ID] = openKey{signer: signer, info: k}
	return signer, nil
}

// prove has the signer sign something fresh and verifies it under the public key.
func prove(ctx context.Context, signer token.Signer, k KeyInfo) error {
	key, err := k.Key()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	if id, err := KeyID(key.Public); err != nil || id != k.ID {
		return fmt.Errorf("%w: its kid is not derived from it", ErrProof)
	}
	if signer.KeyID() != k.ID || signer.Algorithm() != k.Algorithm {
		return fmt.Errorf("%w: the signer has another kid or algorithm", ErrProof)
	}
	const proofType = "writ-key-proof"
	raw, err := token.Sign(ctx, proofType, []byte(rand.Text()), signer)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	proof, err := token.Parse(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	if _, err := proof.Verify(key); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// openable reports whether a key of the state opens here.
func (r *Rotator) openable(ctx context.Context, state State, kid string) error {
	for _, k := range state.Keys {
		if k.ID == kid {
			_, err := r.open(ctx, k)
			return err
		}
	}
	return ErrUnknownKey
}

// forget drops private halves that no key of the state needs.
func (r *Rotator) forget(state State) {
	for kid := range r.opened {
		if !state.Has(kid) {
			delete(r.opened, kid)
		}
	}
}

// create makes a key and opens it from its sealed form, as every other replica
// will have to.
func (r *Rotator) create(ctx context.Context, stage Stage, born uint64, now time.Time) (KeyInfo, error) {
	alg := r.cfg.Schedule.Algorithm
	material, err := r.cfg.Custody.Generate(ctx, r.cfg.Ring, alg, born)
	if err != nil {
		return KeyInfo{}, fmt.Errorf("making a key: %w", err)
	}
	public, err := token.Key{ID: material.ID, Algorithm: alg, Public: material.Public}.MarshalJSON()
	if err != nil {
		return KeyInfo{}, fmt.Errorf("making a key: %w", err)
	}
	k := KeyInfo{
		ID: material.ID, Algorithm: alg, Stage: stage, Public: public, Sealed: material.Sealed,
		Custody: r.cfg.Custody.Name(), Born: born, Published: now, Reason: "scheduled",
	}
	if stage == StageActive {
		k.Activated, k.Reason = now, "first key of the ring"
	}
	_, err = r.open(ctx, k)
	return k, err
}

// build makes a ring of a state. The active key must open; another that does not
// is left out of what is published, with an alarm.
func (r *Rotator) build(ctx context.Context, state State) (*Ring, error) {
	ctx, cancel := context.WithTimeout(ctx, r.poll)
	defer cancel()
	ring := &Ring{version: state.Version, complete: true}
	var public []token.Key
	for _, k := range state.Keys {
		signer, err := r.open(ctx, k)
		if err == nil {
			var key token.Key
			if key, err = k.Key(); err == nil {
				public = append(public, key)
			}
		}
		switch {
		case err != nil && k.Stage == StageActive:
			return nil, fmt.Errorf("the active key cannot sign: %w", err)
		case err != nil:
			ring.complete = false
			r.log.Error("a key is not published, since it does not open", "kid", k.ID, "stage", string(k.Stage), "error", err)
		case k.Stage == StageActive:
			ring.active = fenced{Signer: signer, rotator: r}
		}
		k.Sealed = nil
		ring.keys = append(ring.keys, k)
	}
	var err error
	if ring.public, err = token.NewKeySet(public...); err != nil {
		return nil, err
	}
	if ring.jwks, err = ring.public.MarshalJSON(); err != nil {
		return nil, err
	}
	return ring, nil
}

// fenced refuses to sign once the replica has lost touch with the others, since
// the overlap of retired keys counts on that.
type fenced struct {
	token.Signer
	rotator *Rotator
}

func (f fenced) Sign(ctx context.Context, input []byte) ([]byte, error) {
	if !f.rotator.Fresh() {
		return nil, ErrStale
	}
	return f.Signer.Sign(ctx, input)
}
