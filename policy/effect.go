package policy

import "cmp"

// effect is what a rule did.
type effect uint8

const (
	effectNone effect = iota
	effectAttributes
	effectOverrides
	effectBinds
	effectDelegates
	effectDelegatesInParts
	effectTooDeep
	effectNotDelegated
	effectAdministration
	effectProfile
	effectNoProfile
	effectProfileClash
	effectProfileOutside
	effectAllows
	effectNotExact
	effectNotCovered
	effectNotNow
	effectFailed
	effectDenies
	effectDeniesError
	effectDenyWhen
	effectDenyUnless
	effectOutsideParent
	effectAllowed
	effectRefused
	effectCuts
	effectUnknownTool
	effectUnknownAction
	effectNotASCII
	effectUnknownAudience
	effectOtherAudience
	effectTooManyScopes
	effectTooManyParts
	effectChainTooLong
	effectActorShed
)

var effectTexts = [...]string{
	effectNone:             "",
	effectAttributes:       "gives attributes",
	effectOverrides:        "overrides the verified claim",
	effectBinds:            "gives its roles",
	effectDelegates:        "lets the agent act for the subject",
	effectDelegatesInParts: "lets the agent act for the subject where its condition holds",
	effectTooDeep:          "does not reach so deep",
	effectNotDelegated:     "no delegation lets the agent act for the subject at its depth",
	effectAdministration:   "administration is never delegated",
	effectProfile:          "gives the scopes that were not asked for",
	effectNoProfile:        "no scope was asked for, and no profile is bound",
	effectProfileClash:     "no scope was asked for, and bindings that are equally specific name different profiles",
	effectProfileOutside:   "no scope was asked for, and the profile has nothing within the parent's scopes",
	effectAllows:           "allows",
	effectNotExact:         "does not count: administration goes to a workload only through a binding that names it exactly",
	effectNotCovered:       "not covered",
	effectNotNow:           "its condition does not hold",
	effectFailed:           "its condition could not be evaluated",
	effectDenies:           "denies",
	effectDeniesError:      "denies, because its condition could not be evaluated",
	effectDenyWhen:         "does not apply: its when does not hold",
	effectDenyUnless:       "does not apply: its unless holds",
	effectOutsideParent:    "outside the parent's scopes",
	effectAllowed:          "allowed",
	effectRefused:          "refused",
	effectCuts:             "cuts the lifetime",
	effectUnknownTool:      "the catalog has no such tool",
	effectUnknownAction:    "the tool has no such action",
	effectNotASCII:         "the tool is case-insensitive: its resources are ASCII",
	effectUnknownAudience:  "no tool has this audience",
	effectOtherAudience:    "the tool's audience was not asked for",
	effectTooManyScopes:    "too many scopes; ask for less at once",
	effectTooManyParts:     "the scopes fall into too many parts; ask for narrower ones, or for fewer at once",
	effectChainTooLong:     "the chain of agents is too long",
	effectActorShed:        "an agent of the parent's chain is missing",
}

// String is the effect in words.
func (e effect) String() string { return effectTexts[e] }

func allowedEffect(allowed bool) effect {
	if allowed {
		return effectAllowed
	}
	return effectRefused
}

// compareEvents orders a trace: by kind, then so that events which differ only in their part are
// neighbours.
func compareEvents(a, b event) int {
	// Each comparison is made only where those before it leave it open: a trace is sorted for every
	// decision.
	if a.kind != b.kind {
		return cmp.Compare(a.kind, b.kind)
	}
	if x, y := partFirst(a), partFirst(b); x != y {
		return cmp.Compare(x, y)
	}
	if a.who != b.who {
		return cmp.Compare(a.who, b.who)
	}
	if a.rule != b.rule {
		return cmp.Compare(a.rule, b.rule)
	}
	return cmp.Or(
		cmp.Compare(a.effect, b.effect),
		cmp.Compare(a.detail, b.detail),
		cmp.Compare(a.row, b.row),
	)
}

// partFirst keeps the parts in their order: each is an entry of its own.
func partFirst(e event) int32 {
	if e.kind == kindPart {
		return e.row
	}
	return -1
}

func sameButPart(a, b event) bool {
	if a.kind == kindPart && a.row != b.row {
		return false
	}
	a.row = b.row
	return a == b
}
