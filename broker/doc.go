// Package broker is where the parts of Writ meet: [Broker.Exchange] turns verified
// identity into a credential, [Broker.Revoke] and its administrative siblings take
// credentials back, [Broker.Introspect] says whether one is alive.
//
// The way of an exchange is one direction: one immutable view (policy version, revocation
// position, key ring) is taken before the first check; the presented tokens are
// authenticated; the revocation index is asked about them; policy decides; package
// mint turns its grant into a JWT; the audit record is made durable; only then does the
// credential leave. What is stamped on a token (rev, pol, kid) comes from that first
// view, so a rule that lands between a check and the stamp still hits the token.
//
// The broker holds no adapter: what it needs of stores, clocks and logs is declared
// here as small interfaces and handed in by cmd/writ. It must never log or keep a
// token, never answer a stranger with a reason that discloses policy, and never let a
// credential leave that is not in the audit log. Everything fails closed.
//
// Its callers are package httpapi and the break-glass socket of cmd/writ. All methods
// may be called concurrently.
package broker
