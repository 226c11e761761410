package token

import (
	"fmt"
	"strconv"
)

// Rev is a position in the revocation log: a lineage and a sequence number in
// it. Its text is "<16 hex digits>.<decimal>", in one form only. The zero value
// proves nothing.
type Rev struct{ Lineage, Seq uint64 }

// revLineageDigits is the fixed width of a lineage in text.
const revLineageDigits = 16

// ParseRev reads the text form. A form that String would not write is ErrMalformed.
func ParseRev(text string) (Rev, error) {
	if len(text) < revLineageDigits+2 || text[revLineageDigits] != '.' {
		return Rev{}, fmt.Errorf("%w: rev is not <16 hex>.<decimal>", ErrMalformed)
	}
	for i := range revLineageDigits {
		if c := text[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Rev{}, fmt.Errorf("%w: rev lineage is not lower-case hex", ErrMalformed)
		}
	}
	lineage, err := strconv.ParseUint(text[:revLineageDigits], 16, 64)
	if err != nil {
		return Rev{}, fmt.Errorf("%w: rev lineage", ErrMalformed)
	}
	decimal := text[revLineageDigits+1:]
	if decimal[0] < '0' || decimal[0] > '9' || (decimal[0] == '0' && len(decimal) > 1) {
		return Rev{}, fmt.Errorf("%w: rev sequence is not canonical", ErrMalformed)
	}
	seq, err := strconv.ParseUint(decimal, 10, 64)
	if err != nil {
		return Rev{}, fmt.Errorf("%w: rev sequence", ErrMalformed)
	}
	return Rev{Lineage: lineage, Seq: seq}, nil
}

// IsZero reports whether the rev is the zero value.
func (r Rev) IsZero() bool { return r == Rev{} }

// String returns the text form.
func (r Rev) String() string {
	var buf [revLineageDigits + 1 + 20]byte
	return string(r.append(buf[:0]))
}

func (r Rev) append(dst []byte) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[r.Lineage>>shift&0xf])
	}
	return strconv.AppendUint(append(dst, '.'), r.Seq, 10)
}

// MarshalText implements encoding.TextMarshaler.
func (r Rev) MarshalText() ([]byte, error) { return r.append(nil), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rev) UnmarshalText(text []byte) error {
	rev, err := ParseRev(string(text))
	if err != nil {
		return err
	}
	*r = rev
	return nil
}
