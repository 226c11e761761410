package store

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"sync"
)

// MAC is an HMAC-SHA-256 value.
type MAC [sha256.Size]byte

// MinKey is the least length of a sealer's key, in bytes.
const MinKey = 32

var errShortKey = errors.New("sealing key is shorter than 32 bytes")

// Sealer authenticates what is stored, with HMAC-SHA-256 under a key that the
// store never sees. Every MAC covers a purpose and a list of contexts, each
// length-prefixed, so a value cannot be moved to another name, version or use.
// It is safe for concurrent use.
type Sealer struct{ states sync.Pool }

// NewSealer makes a sealer; the key is at least MinKey bytes and is copied.
func NewSealer(key []byte) (*Sealer, error) {
	if len(key) < MinKey {
		return nil, errShortKey
	}
	own := bytes.Clone(key)
	return &Sealer{states: sync.Pool{New: func() any { return &macState{hash: hmac.New(sha256.New, own)} }}}, nil
}

// String redacts.
func (*Sealer) String() string { return "[sealer]" }

// GoString redacts.
func (*Sealer) GoString() string { return "[sealer]" }

// Seal returns the payload with a MAC that binds it to the contexts.
func (s *Sealer) Seal(payload []byte, context ...string) []byte {
	mac := s.mac("value", payload, context...)
	return append(mac[:], payload...)
}

// Open returns the payload of a sealed value, or ErrForged if it was not sealed
// under this key for exactly these contexts. The payload aliases sealed.
func (s *Sealer) Open(sealed []byte, context ...string) ([]byte, error) {
	if len(sealed) < sha256.Size {
		return nil, ErrForged
	}
	payload := sealed[sha256.Size:]
	mac := s.mac("value", payload, context...)
	if !hmac.Equal(mac[:], sealed[:sha256.Size]) {
		return nil, ErrForged
	}
	return payload, nil
}

type macState struct {
	hash hash.Hash
	head []byte // reused between calls, so that a MAC allocates nothing
}

func (s *Sealer) mac(purpose string, payload []byte, context ...string) (out MAC) {
	st := s.states.Get().(*macState)
	defer s.states.Put(st)
	st.hash.Reset()
	st.head = appendPart(st.head[:0], purpose)
	st.head = binary.BigEndian.AppendUint32(st.head, uint32(len(context)))
	for _, part := range context {
		st.head = appendPart(st.head, part)
	}
	st.hash.Write(st.head)
	st.hash.Write(payload)
	st.head = st.hash.Sum(st.head[:0])
	copy(out[:], st.head)
	return out
}

func appendPart(dst []byte, part string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(part)))
	return append(dst, part...)
}
