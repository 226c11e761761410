package token

import (
	"fmt"
	"strings"
)

// ParseRecord is Parse for a signed record, such as a revocation snapshot, that
// may be larger than a token: up to limit bytes.
func ParseRecord(raw string, limit int) (*Unverified, error) {
	if len(raw) > limit {
		return nil, fmt.Errorf("%w: over %d bytes", ErrTooLarge, limit)
	}
	first, last := strings.IndexByte(raw, '.'), strings.LastIndexByte(raw, '.')
	if first <= 0 || last-first < 2 || last == len(raw)-1 || strings.IndexByte(raw[first+1:last], '.') >= 0 {
		return nil, fmt.Errorf("%w: not three parts joined by dots", ErrMalformed)
	}
	// encoding/base64 skips line breaks even when it is strict.
	if strings.IndexByte(raw, '\n') >= 0 || strings.IndexByte(raw, '\r') >= 0 {
		return nil, fmt.Errorf("%w: line break", ErrMalformed)
	}
	u := &Unverified{input: raw[:last]}
	decoded, err := decodeParts([]byte(raw), first, last)
	if err != nil {
		return nil, err
	}
	u.payload, u.signature = decoded[1], decoded[2]
	if err := u.parseHeader(decoded[0]); err != nil {
		return nil, fmt.Errorf("reading token header: %w", err)
	}
	return u, nil
}
