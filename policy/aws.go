package policy

import (
	"cmp"
	"slices"
	"strings"
)

// AWS is what the catalog says of how a tool's scopes become IAM: plain data, each text with its
// line. This package carries it and puts it into the bundle's version; package mint/awssts gives it a
// meaning and finds what is wrong with it. It must not be changed.
type AWS struct {
	File string
	Line int
	// Service names a ready mapping, such as s3; empty where Actions are written out.
	Service AWSText
	// Role is the one role that credentials for the tool are of; Roles are several, by name. One of
	// the two is given.
	Role  AWSText
	Roles []AWSParameter
	// With fills what a mapping leaves open, such as region and bucket.
	With []AWSParameter
	// Actions map the tool's actions in full.
	Actions []AWSAction
	// Conditions hold for all that is allowed.
	Conditions []AWSCondition
	// Managed are policies in the account that may stand for scopes which have no room.
	Managed []AWSManaged
}

// AWSText is a text with its line; Line is zero where it was not written.
type AWSText struct {
	Value string
	Line  int
}

// AWSParameter is a named text. Lists of them are sorted by name.
type AWSParameter struct {
	Name string
	AWSText
}

// AWSAction is an action of the tool, and what it is in IAM: all of its targets.
type AWSAction struct {
	Name    string
	Line    int
	Targets []AWSTarget
}

// AWSTarget is a kind of AWS resource, and the IAM actions on it.
type AWSTarget struct {
	Line    int
	Actions []AWSText
	// Resource is the ARN, with {path} or {1}, {2}, … where the scope's resource goes.
	Resource AWSText
	// Separator joins the segments of {path}; empty means "/".
	Separator AWSText
	// Segments is how many a resource has; zero: any number.
	Segments int
	// Closed says that the service has no ARN with more segments than these, and no name with a
	// separator in it; Clean, that it has none with an empty segment, or one that is '.' or '..'.
	Closed, Clean bool
	// List, if any, is the request that shows names instead of reaching one.
	List       *AWSList
	Conditions []AWSCondition
}

// AWSList says how a list request tells what it lists.
type AWSList struct {
	Line      int
	Prefix    AWSText // condition key of the prefix that it asks for
	Delimiter AWSText // condition key of what it groups names by
	Value     AWSText // what the prefix is of a scope's resource, with {path}
}

// AWSCondition is one operator on one condition key.
type AWSCondition struct {
	Operator, Key string
	Values        []AWSText
	Line          int
}

// AWSManaged says that a managed policy allows exactly these scopes of the tool.
type AWSManaged struct {
	Line   int
	Policy AWSText
	Scopes []AWSText
}

// canonicalAWS is nil where there is none, so that a catalog without it keeps its version.
func canonicalAWS(a *AWS) any {
	if a == nil {
		return nil
	}
	actions := make([]any, 0, len(a.Actions))
	for _, action := range a.Actions {
		targets := make([]string, 0, len(action.Targets))
		for i := range action.Targets {
			targets = append(targets, encode(canonicalTarget(&action.Targets[i])))
		}
		slices.Sort(targets)
		actions = append(actions, []any{action.Name, targets})
	}
	managed := make([]string, 0, len(a.Managed))
	for _, m := range a.Managed {
		managed = append(managed, encode([]any{m.Policy.Value, sortedValues(m.Scopes)}))
	}
	slices.Sort(managed)
	return map[string]any{
		"service": a.Service.Value, "role": a.Role.Value, "roles": canonicalParameters(a.Roles), "with": canonicalParameters(a.With),
		"actions": actions, "conditions": canonicalConditions(a.Conditions), "managed": managed,
	}
}

func canonicalTarget(t *AWSTarget) map[string]any {
	form := map[string]any{
		"actions": sortedValues(t.Actions), "resource": t.Resource.Value, "separator": cmp.Or(t.Separator.Value, "/"),
		"segments": t.Segments, "closed": t.Closed, "clean": t.Clean, "conditions": canonicalConditions(t.Conditions),
	}
	if t.List != nil {
		form["list"] = []string{t.List.Prefix.Value, t.List.Delimiter.Value, t.List.Value.Value}
	}
	return form
}

func canonicalParameters(parameters []AWSParameter) [][2]string {
	pairs := make([][2]string, 0, len(parameters))
	for _, p := range parameters {
		pairs = append(pairs, [2]string{p.Name, p.Value})
	}
	return pairs
}

func canonicalConditions(conditions []AWSCondition) []string {
	texts := make([]string, 0, len(conditions))
	for _, c := range conditions {
		texts = append(texts, encode([]any{c.Operator, c.Key, sortedValues(c.Values)}))
	}
	slices.Sort(texts)
	return texts
}

func sortedValues(texts []AWSText) []string {
	values := make([]string, 0, len(texts))
	for _, t := range texts {
		values = append(values, t.Value)
	}
	slices.SortFunc(values, strings.Compare)
	return slices.Compact(values)
}
