package fleet

import "github.com/writbroker/writ/revocation"

// AppendProgress is appendProgress.
func AppendProgress(dst []byte, p *revocation.Progress) []byte { return appendProgress(dst, p) }

// DecodeProgress is decodeProgress.
func DecodeProgress(data []byte) (revocation.Progress, error) { return decodeProgress(data) }

// EncodeRoster is encodeRoster.
func EncodeRoster(r *revocation.Roster) ([]byte, error) { return encodeRoster(r) }
