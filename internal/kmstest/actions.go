package kmstest

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
)

const (
	maxPlaintext  = 4096
	maxCiphertext = 6144
	blobForm      = 1
	blobHead      = 1 + 16 // form and the key's id
)

func invalid(format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, "ValidationException", fmt.Sprintf(format, args...)}
}

type createKeyInput struct {
	KeySpec, KeyUsage string
	Tags              []struct{ TagKey, TagValue string }
}

func (s *Server) createKey(in createKeyInput) (any, *failure) {
	if in.KeySpec == "" {
		in.KeySpec = "SYMMETRIC_DEFAULT"
	}
	if in.KeyUsage == "" && in.KeySpec == "SYMMETRIC_DEFAULT" {
		in.KeyUsage = EncryptDecrypt
	}
	if in.KeyUsage == "" {
		return nil, invalid("You must specify a KeyUsage value for an asymmetric KMS key.")
	}
	if len(in.Tags) > 0 && s.denied["TagResource"] {
		return nil, &failure{http.StatusBadRequest, "AccessDeniedException", "not authorized to perform: kms:TagResource"}
	}
	k, failed := s.add(in.KeySpec, in.KeyUsage)
	if failed != nil {
		return nil, failed
	}
	k.tags = map[string]string{}
	for _, tag := range in.Tags {
		k.tags[tag.TagKey] = tag.TagValue
	}
	return described(k), nil
}

func described(k *key) any {
	return map[string]any{"KeyMetadata": map[string]any{
		"AWSAccountId": Account, "KeyId": k.id, "Arn": arn(k.id), "Enabled": k.state == Enabled,
		"KeyState": k.state, "KeySpec": k.spec, "KeyUsage": k.usage,
	}}
}

type keyInput struct {
	KeyId               string
	PendingWindowInDays int
}

func (s *Server) describeKey(in keyInput) (any, *failure) {
	k, failed := s.find(in.KeyId)
	if failed != nil {
		return nil, failed
	}
	return described(k), nil
}

func (s *Server) scheduleKeyDeletion(in keyInput) (any, *failure) {
	k, failed := s.find(in.KeyId)
	if failed != nil {
		return nil, failed
	}
	const least, most = 7, 30
	if in.PendingWindowInDays < least || in.PendingWindowInDays > most {
		return nil, invalid("PendingWindowInDays must be between 7 and 30")
	}
	if k.state == PendingDeletion {
		return nil, &failure{http.StatusBadRequest, "KMSInvalidStateException", arn(k.id) + " is pending deletion."}
	}
	k.state, k.days = PendingDeletion, in.PendingWindowInDays
	const day = 24 * time.Hour
	return map[string]any{
		"KeyId": arn(k.id), "KeyState": k.state, "PendingWindowInDays": k.days,
		"DeletionDate": float64(time.Now().Add(time.Duration(k.days) * day).Unix()),
	}, nil
}

type cryptInput struct {
	KeyId                     string
	Plaintext, CiphertextBlob []byte
	EncryptionContext         map[string]string
}

func (s *Server) encrypt(in cryptInput) (any, *failure) {
	if len(in.Plaintext) == 0 || len(in.Plaintext) > maxPlaintext {
		return nil, invalid("1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length between 1 and %d", maxPlaintext)
	}
	k, failed := s.usable(in.KeyId, EncryptDecrypt)
	if failed != nil {
		return nil, failed
	}
	aead, failed := s.sealer(k, in.EncryptionContext)
	if failed != nil {
		return nil, failed
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, &failure{http.StatusInternalServerError, "KMSInternalException", err.Error()}
	}
	name := uuid.MustParse(k.id)
	head := append(append([]byte{blobForm}, name[:]...), nonce...)
	return map[string]any{
		"KeyId": arn(k.id), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
		"CiphertextBlob": aead.Seal(head, nonce, in.Plaintext, associated(k, in.EncryptionContext)),
	}, nil
}

func (s *Server) decrypt(in cryptInput) (any, *failure) {
	if len(in.CiphertextBlob) == 0 || len(in.CiphertextBlob) > maxCiphertext {
		return nil, invalid("1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length between 1 and %d", maxCiphertext)
	}
	broken := &failure{http.StatusBadRequest, "InvalidCiphertextException", ""}
	if len(in.CiphertextBlob) < blobHead || in.CiphertextBlob[0] != blobForm {
		return nil, broken
	}
	name, err := uuid.FromBytes(in.CiphertextBlob[1:blobHead])
	if err != nil {
		return nil, broken
	}
	if in.KeyId == "" {
		in.KeyId = arn(name.String())
	}
	k, failed := s.usable(in.KeyId, EncryptDecrypt)
	if failed != nil {
		return nil, failed
	}
	if k.id != name.String() {
		return nil, &failure{http.StatusBadRequest, "IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation."}
	}
	aead, failed := s.sealer(k, in.EncryptionContext)
	if failed != nil {
		return nil, failed
	}
	rest := in.CiphertextBlob[blobHead:]
	if len(rest) < aead.NonceSize() {
		return nil, broken
	}
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], associated(k, in.EncryptionContext))
	if err != nil {
		return nil, broken
	}
	return map[string]any{"KeyId": arn(k.id), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "Plaintext": plain}, nil
}

func (s *Server) sealer(k *key, context map[string]string) (cipher.AEAD, *failure) {
	for name, value := range s.required {
		if context[name] != value {
			return nil, &failure{http.StatusBadRequest, "AccessDeniedException", "not authorized: condition kms:EncryptionContext:" + name}
		}
	}
	if k.secret == nil {
		return nil, &failure{http.StatusBadRequest, "InvalidKeyUsageException", "the encryption algorithm SYMMETRIC_DEFAULT is incompatible with key spec " + k.spec}
	}
	for name, value := range context {
		if name == "" || value == "" {
			return nil, invalid("EncryptionContext keys and values must not be empty")
		}
	}
	block, err := aes.NewCipher(k.secret)
	if err != nil {
		return nil, &failure{http.StatusInternalServerError, "KMSInternalException", err.Error()}
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, &failure{http.StatusInternalServerError, "KMSInternalException", err.Error()}
	}
	return aead, nil
}

// associated is the key and the encryption context in the one order that has none.
func associated(k *key, context map[string]string) []byte {
	out := []byte(k.id)
	for _, name := range slices.Sorted(maps.Keys(context)) {
		for _, text := range []string{name, context[name]} {
			out = binary.BigEndian.AppendUint32(out, uint32(len(text)))
			out = append(out, text...)
		}
	}
	return out
}

func (s *Server) getPublicKey(in keyInput) (any, *failure) {
	k, failed := s.usable(in.KeyId, "")
	if failed != nil {
		return nil, failed
	}
	if k.private == nil {
		return nil, &failure{http.StatusBadRequest, "UnsupportedOperationException", arn(k.id) + " origin is symmetric."}
	}
	public, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		return nil, &failure{http.StatusInternalServerError, "KMSInternalException", err.Error()}
	}
	return map[string]any{"KeyId": arn(k.id), "KeySpec": k.spec, "KeyUsage": k.usage, "PublicKey": public}, nil
}

type signInput struct {
	KeyId                         string
	Message                       []byte
	MessageType, SigningAlgorithm string
}

func (s *Server) sign(in signInput) (any, *failure) {
	k, failed := s.usable(in.KeyId, SignVerify)
	if failed != nil {
		return nil, failed
	}
	spec := map[string]string{"ECDSA_SHA_256": "ECC_NIST_P256", "RSASSA_PKCS1_V1_5_SHA_256": "RSA_2048"}[in.SigningAlgorithm]
	if spec == "" || spec != k.spec {
		return nil, &failure{http.StatusBadRequest, "InvalidKeyUsageException", "Algorithm " + in.SigningAlgorithm + " and key spec " + k.spec + " are incompatible."}
	}
	digest := in.Message
	switch {
	case in.MessageType == "DIGEST" && len(digest) != sha256.Size:
		return nil, invalid("Digest is invalid length for algorithm %s.", in.SigningAlgorithm)
	case in.MessageType != "DIGEST" && len(digest) > maxPlaintext:
		return nil, invalid("Member must have length less than or equal to %d", maxPlaintext)
	case in.MessageType != "DIGEST":
		sum := sha256.Sum256(in.Message)
		digest = sum[:]
	}
	signature, err := k.private.Sign(rand.Reader, digest, crypto.SHA256)
	if err != nil {
		return nil, &failure{http.StatusInternalServerError, "KMSInternalException", err.Error()}
	}
	return map[string]any{"KeyId": arn(k.id), "SigningAlgorithm": in.SigningAlgorithm, "Signature": signature}, nil
}
