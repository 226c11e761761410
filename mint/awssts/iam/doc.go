// Package iam is the language of IAM's policies: documents, their one short text, and the
// patterns in them.
//
// It owns how a raw text is written so that IAM reads back that text and nothing else (the
// wildcards '*' and '?', and the policy variables ${…}), which characters a session policy
// may hold, and whether two patterns can match the same ARN. It knows no service, no scope
// and no network, and decides nothing. Its callers are package mint/awssts and those below it.
//
// It is pure. Its values are safe for concurrent use as long as nobody changes them.
package iam
