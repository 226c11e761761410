package awskms

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

const (
	// sealedForm is the first byte of everything sealed here.
	sealedForm = 1
	// maxPlain and maxSealed are what KMS takes (API reference, Encrypt and Decrypt).
	// Keys of 2048 bits have about 1.2 KB.
	maxPlain  = 4096
	maxSealed = 6144
)

// binding is what a sealed key must stand with to be opened.
type binding struct {
	custody, ring, kid, alg string
	born                    uint64
}

// context is the encryption context: AES-GCM authenticates it, CloudTrail shows it, and
// a policy can ask for it. Each part has a name, so none can be taken for another.
func (b binding) context() map[string]string {
	return map[string]string{
		"writ:custody": b.custody, "writ:ring": b.ring, "writ:kid": b.kid, "writ:alg": b.alg,
		"writ:born": strconv.FormatUint(b.born, 10),
	}
}

// seal encrypts under the seal key.
func (c *Client) seal(ctx context.Context, b binding, plain []byte) ([]byte, error) {
	key, err := c.sealKey(ctx)
	if err != nil {
		return nil, err
	}
	const name = "kms:Encrypt"
	if len(plain) > maxPlain {
		return nil, &CallError{Kind: ErrRefused, Action: name, Key: key, Detail: "the private key is longer than the 4096 bytes that KMS seals"}
	}
	out, err := call(ctx, c, name, key, c.kms.Encrypt, &kms.EncryptInput{KeyId: &key, Plaintext: plain, EncryptionContext: b.context()})
	if err != nil {
		return nil, err
	}
	if len(out.CiphertextBlob) == 0 || len(out.CiphertextBlob) > maxSealed || deref(out.KeyId) != key {
		return nil, &CallError{Kind: ErrAway, Action: name, Key: key, Detail: "the answer is no ciphertext of that key"}
	}
	return append([]byte{sealedForm}, out.CiphertextBlob...), nil
}

// unseal decrypts what seal made for the same binding; ErrBinding if it did not.
func (c *Client) unseal(ctx context.Context, b binding, sealed []byte) ([]byte, error) {
	const name = "kms:Decrypt"
	if len(sealed) < 2 || len(sealed) > 1+maxSealed || sealed[0] != sealedForm || b.ring == "" || b.kid == "" || b.alg == "" {
		return nil, c.refused(b)
	}
	// The key is named, always: a ciphertext names its own, which may be anybody's.
	key, err := c.sealKey(ctx)
	if err != nil {
		return nil, err
	}
	out, err := call(ctx, c, name, key, c.kms.Decrypt, &kms.DecryptInput{KeyId: &key, CiphertextBlob: sealed[1:], EncryptionContext: b.context()})
	if err != nil {
		return nil, err
	}
	if deref(out.KeyId) != key {
		clear(out.Plaintext)
		return nil, c.refused(b)
	}
	return out.Plaintext, nil
}

// refused is a sealed key that is not what it stands for.
func (c *Client) refused(b binding) *CallError {
	return &CallError{Kind: ErrBinding, Action: "kms:Decrypt", Key: c.cfg.SealKey, Detail: "key " + strconv.Quote(b.kid) + " of ring " + strconv.Quote(b.ring)}
}

// sealKey is the ARN of the seal key, once it was seen to be one that can bind what it
// seals: an asymmetric key authenticates no context. An alias is followed once, so that
// moving it does not split what this process seals and opens.
func (c *Client) sealKey(ctx context.Context) (string, error) {
	if arn := c.sealARN.Load(); arn != nil {
		return *arn, nil
	}
	const name = "kms:DescribeKey"
	configured := c.cfg.SealKey
	out, err := call(ctx, c, name, configured, c.kms.DescribeKey, &kms.DescribeKeyInput{KeyId: &configured})
	if err != nil {
		return "", err
	}
	m := out.KeyMetadata
	unfit := func(kind error, detail string) error {
		return &CallError{Kind: kind, Action: name, Key: configured, Detail: detail}
	}
	switch {
	case m == nil || deref(m.Arn) == "":
		return "", unfit(ErrAway, "the answer names no key")
	case m.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		return "", unfit(ErrKeyUsage, "it is for "+string(m.KeyUsage)+", and sealing needs ENCRYPT_DECRYPT")
	case m.KeySpec != types.KeySpecSymmetricDefault:
		return "", unfit(ErrKeySpec, "it is "+string(m.KeySpec)+", which cannot bind what it seals; make one that is SYMMETRIC_DEFAULT")
	case m.KeyState != types.KeyStateEnabled:
		return "", unfit(ErrKeyState, "it is "+string(m.KeyState))
	}
	c.sealARN.CompareAndSwap(nil, m.Arn) // of two that follow it at once, the first counts for both
	return *c.sealARN.Load(), nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
