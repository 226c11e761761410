// Package app builds a broker from a configuration and runs it: the one place where
// adapters (store/bolt, keys/file, identity/jwks) are wired to what needs them.
//
// [Start] opens everything and takes the listeners, so that a caller knows the addresses
// before anything is served; [App.Run] serves until its context ends, and then closes in
// the opposite order. It must never decide anything: what it finds in the configuration it
// hands on. The commands serve, dev, demo and bench call it.
package app
