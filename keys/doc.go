// Package keys owns the keys that sign Writ's tokens: their states, when each
// changes, what is published, and the one ring that all replicas share.
//
// A key is next (published, does not sign), then active (signs), then retired
// (published until the last token it signed has expired), then gone. Plan says
// what is due and is pure; the Rotator runs it against a store.Cell by
// compare-and-swap, so that of many replicas exactly one rotates.
//
// A scheduled activation waits, up to a deadline, until connected verifiers have reported the
// key (Config.Lacking); an emergency does not.
//
// Neither the store nor another replica's clock is trusted: the state is
// authenticated under a key of the Root, a version that goes back is refused
// and put right, and a public key is published only where its private half was
// opened under custody here and has signed a proof.
//
// It never sees a token and never logs a key. Custody (keys/file, and adapters
// for services) holds private halves; mint and the JWKS handler read the Ring.
package keys
