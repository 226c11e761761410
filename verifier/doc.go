// Package verifier is the SDK of resource servers: it decides, in memory and
// in microseconds, whether a token of a Writ broker is good now and what it
// allows here.
//
// It keeps the broker's keys and its revocation feed in the background (Run);
// Verify and the middleware never touch the network. What cannot be known is
// refused: no keys yet, or a feed that has not confirmed the end of the
// revocation log for longer than Config.MaxStaleness, is ErrStale (503), not a
// yes. The package imports no broker, no policy and no store, and net/http
// users do not link gRPC: that is package grpcverifier.
//
// A server's whole use of it:
//
//	v, err := verifier.New(ctx, verifier.Config{Issuer: "https://writ.example", Audience: []string{"https://warehouse.example"}, FeedToken: source})
//	go v.Run(ctx)
//	defer v.Close()
//	mux.Handle("GET /rows/{id}", v.Require("warehouse", "read", rowResource)(rows))
package verifier
