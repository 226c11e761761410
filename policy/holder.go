package policy

import "sync/atomic"

// Holder hands out the bundle in force. It is safe for concurrent use.
type Holder struct{ current atomic.Pointer[Bundle] }

// NewHolder holds a bundle, which must not be nil.
func NewHolder(b *Bundle) *Holder {
	h := &Holder{}
	h.current.Store(b)
	return h
}

// Current is the bundle in force. Take it once per request.
func (h *Holder) Current() *Bundle { return h.current.Load() }

// Replace puts a bundle in force and returns the one before.
func (h *Holder) Replace(b *Bundle) *Bundle { return h.current.Swap(b) }
