// Package token owns the claims of a Writ access token and the one place where
// a JWS is parsed, verified and signed, and where a JWK Set is read and written.
//
// It closes, here and nowhere else, what general JWT libraries leave open: the
// algorithm belongs to the key (RFC 8725 §3.1), the encoding is canonical,
// duplicate JSON members are refused, header parameters that bring their own
// key or change the meaning of the signature are refused, the type is explicit,
// and a missing claim fails.
//
// The package is pure: it has no clock, does no I/O and keeps no state. It must
// never log, and no error of it carries a part of a token. Brokers, verifiers
// and identity sources call it; it knows none of them.
package token
