// Package iamtest is an IAM for tests: its query protocol, as far as the inline policies of
// roles go, so that the SDK's own client talks to it.
//
// It has what makes IAM hard: the last writer of a policy wins, without being told of the
// others; what is read may be old, by a time that differs from read to read; all inline
// policies of a role together have 10,240 characters; calls are throttled, fail, or fail after
// they were carried out. Documents come back URL-encoded, as IAM gives them.
//
// Only tests import it.
package iamtest
