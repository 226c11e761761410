// Package awssts turns what policy granted into AWS credentials that can do exactly that.
//
// It owns the meaning of a tool's aws section in the catalog (Catalog), the compiler from
// scopes to an IAM session policy (Catalog.Compile), and the names that a session carries
// (SourceIdentity, SessionName, SessionTags). The compiled policy allows a subset of the
// scopes, always, and all of it unless Compile refuses: what IAM cannot say as narrowly is
// an error that says what to ask for instead, never a wider policy.
//
// What an access to AWS is in scopes: the mapping of an action gives the IAM actions and the
// ARN in which the scope's resource stands, its segments joined by the separator that the
// service uses. An ARN that no scope can name (a key with an empty segment, or with a segment
// '.' or '..') is never allowed. A list request shows names; it is allowed where one scope
// names everything with a name that it can show, and where such a name lies next to one that
// no scope can name, that one is shown too.
//
// Compiling is pure: no clock, no I/O, no log. Catalog is immutable and safe for concurrent
// use.
//
// Minter asks STS for a session under the compiled policy, and Sessions gives one out again
// while an equal order would get the same. Both make calls, and neither decides: what may be
// made is a mint.SessionOrder, and whether one is still alive is for its caller to say. What
// they hold of secrets is never logged.
package awssts
