// Package e2e tests the built binary from outside, against parties that Writ did
// not write. It is a module of its own, so that what those need never reaches the
// broker's go.mod. Of the broker it imports what a real Vault is held to, the
// custody and the cases that the stand-in for Vault passes too, and what agents and resource
// servers import: client and verifier.
package e2e
