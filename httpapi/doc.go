// Package httpapi is Writ on the wire: the OAuth endpoints, discovery and keys, the
// revocation feed, and the admin API.
//
// A handler parses its request once into a value, calls one method of the broker, and
// writes once. The one table from the broker's errors to status, code and headers is in
// errors.go. Bodies are limited, every write has a deadline, and nothing that is not in
// package wire is ever put on the wire.
//
// Three handlers come out: [API.Public] for agents and resource servers, [API.Admin] for
// security ops on a listener of its own, and [API.BreakGlass] for the Unix socket, whose
// peer the caller has already identified. It holds no state but what Config hands in.
package httpapi
