// Package forgetting holds one test: whatever happens to Redis and to the replicas of
// the broker, nothing that was acknowledged is forgotten. It has no code of its own.
//
// Replicas are processes of the test's own binary, each with its data folder and its way
// to a real Redis; agents, resource servers and security ops are at work while both are
// broken at random. A record keeper, which believes nobody's account of what is revoked
// but the answers that operators got, judges every acceptance and every refusal.
package forgetting
