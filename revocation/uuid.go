package revocation

type uuid [16]byte

const uuidLen = 36

// parseUUID accepts the canonical text of a UUID and no other form: what it
// accepts, uuid.text writes back byte for byte.
func parseUUID(s string) (id uuid, ok bool) {
	if len(s) != uuidLen {
		return id, false
	}
	at := 0
	for i := 0; i < uuidLen; i += 2 {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if s[i] != '-' {
				return id, false
			}
			i++
		}
		hi, lo := hexValue(s[i]), hexValue(s[i+1])
		if hi|lo > 15 {
			return id, false
		}
		id[at] = hi<<4 | lo
		at++
	}
	return id, true
}

func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

func (u *uuid) put(out *[uuidLen]byte) {
	const digits = "0123456789abcdef"
	at := 0
	for i, b := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			out[at] = '-'
			at++
		}
		out[at], out[at+1] = digits[b>>4], digits[b&15]
		at += 2
	}
}

func (u uuid) text() string {
	var out [uuidLen]byte
	u.put(&out)
	return string(out[:])
}
