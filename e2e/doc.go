// Package e2e tests the built binary from outside, against parties that Writ did
// not write. It is a module of its own, so that what those need never reaches the
// broker's go.mod; it imports nothing of the broker.
package e2e
