// Package jwks fetches and keeps the keys of identity sources: it is the [identity.KeyFinder] of a
// broker, and the only part of identity that touches files and the network.
//
// Keys are kept by two clocks. A loop ([Cache.Run]) fetches each source's document anew, long before it is
// too old; and a token with a kid that is not known asks for a fetch at once, since its issuer may just have rotated.
// A failed fetch leaves the last known good keys in force until they are MaxStale old.
//
// Whoever can send tokens can name issuers and kids, so what they can cause is bounded:
//   - one fetch of a document is in flight at a time, and everybody waits for that one (no herd);
//   - unknown kids may cause fetches only within a budget of the source and one of all sources
//     together. The budgets refill with time alone: a flood can neither push that back nor spend another source's;
//   - a fetch goes to configured https URLs (and to the jwks_uri of a discovery document whose issuer is
//     byte for byte the configured one), follows no redirect, uses no proxy, reads at most 1 MiB, and refuses at the moment of
//     dialing every address that is not public, unless the source is configured to allow private ones.
//
// New needs no issuer to be up. Until its keys are there, a source answers
// [identity.ErrKeysUnavailable], and everything fails closed.
package jwks
