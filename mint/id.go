package mint

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// NewID makes a UUIDv7 (RFC 9562 §5.7) for a moment: 48 bits of milliseconds, so
// that records by it lie in order of time, and 74 random bits. Unlike
// google/uuid's it takes no lock that all requests share, and promises no order
// within a millisecond. It may be called concurrently.
func NewID(now time.Time) string {
	var id [16]byte
	// Reads from the system's generator cannot fail (Go 1.24).
	_, _ = rand.Read(id[6:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return format(id)
}

// format writes the 8-4-4-4-12 form.
func format(id [16]byte) string {
	var text [36]byte
	hex.Encode(text[:], id[:4])
	hex.Encode(text[9:], id[4:6])
	hex.Encode(text[14:], id[6:8])
	hex.Encode(text[19:], id[8:10])
	hex.Encode(text[24:], id[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// isID reports whether text is a UUIDv7 in the form that NewID writes.
func isID(text string) bool {
	if len(text) != 36 || text[14] != '7' || (text[19] != '8' && text[19] != '9' && text[19] != 'a' && text[19] != 'b') {
		return false
	}
	for i, c := range []byte(text) {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
