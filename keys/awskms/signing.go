package awskms

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/token"
)

// SigningName is how a ring names the custody where KMS signs.
const SigningName = "aws-kms-sign"

// spec is how KMS names and uses the keys of one algorithm.
type spec struct {
	alg       string
	keySpec   types.KeySpec
	algorithm types.SigningAlgorithmSpec
}

// specOf has no Ed25519: for that KMS takes no digest, so it would have to see every
// token, and none of more than 4,096 bytes.
func specOf(alg string) (spec, error) {
	for _, s := range []spec{
		{token.ES256, types.KeySpecEccNistP256, types.SigningAlgorithmSpecEcdsaSha256},
		{token.RS256, types.KeySpecRsa2048, types.SigningAlgorithmSpecRsassaPkcs1V15Sha256},
	} {
		if s.alg == alg {
			return s, nil
		}
	}
	return spec{}, fmt.Errorf("%w: %q in the custody of %s, which has ES256 and RS256", token.ErrAlgorithm, alg, SigningName)
}

// Signing implements keys.Custody: keys are made and used by KMS, which never gives them
// out. Each key of a ring is a KMS key, made when it is needed rather than taken from a
// list, since a list ends and its keys would come back; it is tagged writ:ring. It gets
// no alias: those can be moved to another key. What the ring keeps is the KMS key's ARN,
// sealed, so that nobody without the seal key can put another in its place.
// It is safe for concurrent use.
type Signing struct {
	client *Client

	mu sync.Mutex
	// spare are KMS keys whose Generate failed after they were made, by ring and
	// algorithm: each costs money, and a rotator tries again soon.
	spare map[[2]string][]string
}

// Signing is the custody where KMS signs.
func (c *Client) Signing() *Signing { return &Signing{client: c, spare: map[[2]string][]string{}} }

// Name implements keys.Custody.
func (*Signing) Name() string { return SigningName }

// String redacts.
func (*Signing) String() string { return "[aws-kms-sign custody]" }

// GoString redacts.
func (*Signing) GoString() string { return "[aws-kms-sign custody]" }

// Generate implements keys.Custody for ES256 and RS256. It makes a KMS key; one that
// then does not get into a ring is the caller's to Discard.
func (s *Signing) Generate(ctx context.Context, ring, alg string, born uint64) (keys.Material, error) {
	sp, err := specOf(alg)
	if err != nil {
		return keys.Material{}, err
	}
	// What is wrong with the seal key shows before there is a key to pay for.
	if _, err := s.client.sealKey(ctx); err != nil {
		return keys.Material{}, err
	}
	arn, isSpare := s.take(ring, sp)
	if !isSpare {
		if arn, err = s.create(ctx, ring, sp); err != nil {
			return keys.Material{}, err
		}
	}
	material, err := s.finish(ctx, arn, ring, sp, born)
	// A new key may be unknown to a part of KMS still; one that was kept, no more.
	if err != nil && !(isSpare && spent(err, arn)) {
		s.keep(arn, ring, sp)
	}
	return material, err
}

func (s *Signing) take(ring string, sp spec) (arn string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := [2]string{ring, sp.alg}
	spare := s.spare[place]
	if len(spare) == 0 {
		return "", false
	}
	s.spare[place] = spare[1:]
	return spare[0], true
}

func (s *Signing) keep(arn, ring string, sp spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := [2]string{ring, sp.alg}
	s.spare[place] = append(s.spare[place], arn)
}

// spent says that it is this KMS key that cannot be used: somebody deleted it, say.
func spent(err error, arn string) bool {
	failed, ok := errors.AsType[*CallError](err)
	return ok && failed.Key == arn && failed.is(ErrNotFound, ErrKeyState, ErrKeyUsage, ErrKeySpec)
}

func (s *Signing) create(ctx context.Context, ring string, sp spec) (string, error) {
	const name = "kms:CreateKey"
	tag, description := ringTag, "signs the tokens of ring "+ring+" with "+sp.alg
	in := &kms.CreateKeyInput{
		KeySpec: sp.keySpec, KeyUsage: types.KeyUsageTypeSignVerify, Description: &description,
		Tags: []types.Tag{{TagKey: &tag, TagValue: &ring}},
	}
	for key, value := range s.client.cfg.Tags {
		in.Tags = append(in.Tags, types.Tag{TagKey: &key, TagValue: &value})
	}
	out, err := call(ctx, s.client, name, "", s.client.kms.CreateKey, in, noRepeats)
	if err != nil {
		return "", err
	}
	if out.KeyMetadata == nil || deref(out.KeyMetadata.Arn) == "" {
		return "", &CallError{Kind: ErrAway, Action: name, Detail: "the answer names no key"}
	}
	return *out.KeyMetadata.Arn, nil
}

// finish makes a key of a ring of a KMS key that nobody uses yet.
func (s *Signing) finish(ctx context.Context, arn, ring string, sp spec, born uint64) (keys.Material, error) {
	public, err := s.firstPublic(ctx, arn, sp)
	if err != nil {
		return keys.Material{}, err
	}
	id, err := keys.KeyID(public)
	if err != nil {
		return keys.Material{}, err
	}
	sealed, err := s.client.seal(ctx, binding{SigningName, ring, id, sp.alg, born}, []byte(arn))
	if err != nil {
		return keys.Material{}, err
	}
	return keys.Material{ID: id, Public: public, Sealed: sealed}, nil
}

// firstPublic waits for a new key to be known everywhere in KMS, which says what it has
// made with a delay.
func (s *Signing) firstPublic(ctx context.Context, arn string, sp spec) (crypto.PublicKey, error) {
	const least, tries = 50 * time.Millisecond, 6
	for i := range tries {
		public, err := s.public(ctx, arn, sp)
		if !errors.Is(err, ErrNotFound) {
			return public, err
		}
		wait := least << i
		if !pause(ctx, wait/2+rand.N(wait)) { //nolint:gosec // it spreads load, and protects nothing
			break
		}
	}
	return s.public(ctx, arn, sp)
}

// public is the public half of a KMS key, if that is of the usage and spec that the
// algorithm needs.
func (s *Signing) public(ctx context.Context, arn string, sp spec) (crypto.PublicKey, error) {
	const name = "kms:GetPublicKey"
	out, err := call(ctx, s.client, name, arn, s.client.kms.GetPublicKey, &kms.GetPublicKeyInput{KeyId: &arn})
	if err != nil {
		return nil, err
	}
	unfit := func(kind error, detail string, cause error) error {
		return &CallError{Kind: kind, Action: name, Key: arn, Detail: detail, Cause: cause}
	}
	switch {
	case deref(out.KeyId) != arn:
		return nil, unfit(ErrAway, "the answer is about another key", nil)
	case out.KeyUsage != types.KeyUsageTypeSignVerify:
		return nil, unfit(ErrKeyUsage, "it is for "+string(out.KeyUsage)+", and signing needs SIGN_VERIFY", nil)
	case out.KeySpec != sp.keySpec:
		return nil, unfit(ErrKeySpec, "it is "+string(out.KeySpec)+", and "+sp.alg+" needs "+string(sp.keySpec), nil)
	}
	public, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, unfit(ErrAway, "the answer holds no public key", err)
	}
	return public, nil
}

// Open implements keys.Custody. The signer needs KMS for each signature.
func (s *Signing) Open(ctx context.Context, ring string, k keys.KeyInfo) (token.Signer, error) {
	sp, err := specOf(k.Algorithm)
	if err != nil {
		return nil, err
	}
	arn, err := s.reference(ctx, ring, k)
	if err != nil {
		return nil, err
	}
	public, err := s.public(ctx, arn, sp)
	if err != nil {
		return nil, err
	}
	// The ring must publish the very key that KMS will sign with.
	published, err := k.Key()
	if err != nil || !samePublic(published.Public, public) {
		return nil, s.client.refused(binding{ring: ring, kid: k.ID})
	}
	if id, err := keys.KeyID(public); err != nil || id != k.ID {
		return nil, s.client.refused(binding{ring: ring, kid: k.ID})
	}
	return &remoteSigner{client: s.client, kid: k.ID, arn: arn, spec: sp, public: public}, nil
}

// reference opens what a ring keeps of a key.
func (s *Signing) reference(ctx context.Context, ring string, k keys.KeyInfo) (string, error) {
	b := binding{SigningName, ring, k.ID, k.Algorithm, k.Born}
	plain, err := s.client.unseal(ctx, b, k.Sealed)
	if err != nil {
		return "", err
	}
	arn := string(plain)
	if parts := arnPattern.FindStringSubmatch(arn); parts == nil || !strings.HasPrefix(parts[2], "key/") {
		return "", s.client.refused(b)
	}
	return arn, nil
}

func samePublic(a, b crypto.PublicKey) bool {
	key, ok := a.(interface {
		Equal(other crypto.PublicKey) bool
	})
	return ok && key.Equal(b)
}

// Discard has KMS delete the key of a ring that needs it no more, after
// Config.DeleteAfter; until then an operator can take that back. Discarding it again is
// no error. It is for what has left the ring: what KMS deletes signs nothing more, from
// that moment on.
func (s *Signing) Discard(ctx context.Context, ring string, k keys.KeyInfo) error {
	arn, err := s.reference(ctx, ring, k)
	if err != nil {
		return fmt.Errorf("discarding key %s: %w", k.ID, err)
	}
	days := int32(s.client.cfg.DeleteAfter)
	in := &kms.ScheduleKeyDeletionInput{KeyId: &arn, PendingWindowInDays: &days}
	_, err = call(ctx, s.client, "kms:ScheduleKeyDeletion", arn, s.client.kms.ScheduleKeyDeletion, in)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrKeyState) {
		return nil // it is gone, or on its way
	}
	if err != nil {
		return fmt.Errorf("discarding key %s: %w", k.ID, err)
	}
	return nil
}
