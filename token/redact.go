package token

import "strings"

const (
	redacted = "[token]"
	begin    = "eyJ" // of a JWS or JWE in compact form: base64url of {"
	least    = 24    // bytes of the shortest run that is taken for one
)

// Redact returns a text with each run that looks like a JWS or JWE in compact form replaced,
// whole or cut off, signed by whomever: for texts that repeat what a caller has sent, who may
// have sent a token where none belongs.
func Redact(text string) string {
	var out strings.Builder
	rest := text
	for {
		i := strings.Index(rest, begin)
		if i < 0 {
			break
		}
		n := i
		for n < len(rest) && inCompact(rest[n]) {
			n++
		}
		out.WriteString(rest[:i])
		if run := rest[i:n]; len(run) >= least && strings.IndexByte(run, '.') > 0 {
			out.WriteString(redacted)
		} else {
			out.WriteString(run)
		}
		rest = rest[n:]
	}
	if out.Len() == 0 && len(rest) == len(text) {
		return text
	}
	out.WriteString(rest)
	return out.String()
}

// Holds reports whether Redact would replace anything.
func Holds(text string) bool { return Redact(text) != text }

func inCompact(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '='
}
