// Package identity turns a proof of identity that a caller already has into a verified
// [Principal].
//
// It owns the description of an identity source ([Source]: who issues, for which audience, with
// which keys, what the claims mean), its compilation ([Compile]) and the checks themselves
// ([Registry.Authenticate] for a JWT, [Registry.AuthenticateX509] for an X.509-SVID). A platform
// is configuration data, never code: the presets ([Presets]) are [Source] values with the blanks
// that only the operator knows.
//
// The package is pure. It reads no clock, no file and no network: the caller passes the time, and
// keys come from a [KeyFinder]; package identity/jwks is the one that fetches. It must never
// decide what a principal may do (package policy), never look at revocations (package
// revocation), and never keep, print or wrap a token or a part of one in an error.
//
// Everything fails closed. An issuer is compared byte by byte before anything is fetched; a claim
// that a check needs and that is missing fails that check; a rule whose evaluation fails refuses.
//
// It is called by package broker (every exchange, introspection and administrative call), by
// package policy (which reads Principals) and by cmd/writ (which compiles the configuration).
package identity
