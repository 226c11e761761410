// Package leaks holds one test: of what a deployment keeps secret, nothing is written anywhere in
// the clear. It has no code of its own.
//
// It plays the whole demo and many faults on a real Redis, with keys, tokens and passwords that
// it knows, and then looks for each of them, in every usual encoding, in all that the broker has
// written: logs at debug level, answers, audit log, metrics, profiles, the data folder, and
// Redis with its files. That the search finds what is there is tested in each of these places.
package leaks
