// Package vault keeps signing keys in the custody of HashiCorp Vault, in two ways,
// and the highest version of a key ring that was ever in force.
//
// Sealing makes private keys here and has Vault Transit encrypt them; what it seals
// may lie in a store that nobody trusts, opens only through Vault, and only as the
// key, in the ring, for the algorithm and of the state that it was made for. Signing
// is local, so Vault may be away once the keys are open. Signing leaves private keys
// in Vault, which signs: concurrent signatures travel in batches, and a Vault that
// does not answer is not asked by every request.
//
// Client is the broker's own login to Vault: it logs in when a token is first
// needed, keeps the token alive and replaces it. Every call has a bounded wait, and
// every failure a name to branch on. Nothing here logs a token, a secret id or a key.
// cmd/writ wires it into keys.Rotator.
package vault
