package awssts

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/writbroker/writ/mint/awssts/iam"
	"github.com/writbroker/writ/policy"
)

var (
	iamAction   = regexp.MustCompile(`\A[a-z0-9-]+:[A-Za-z0-9]+\z`)
	operator    = regexp.MustCompile(`\A(?:ForA(?:ll|ny)(?:Values?):)?[A-Z][A-Za-z]+\z`)
	conditionID = regexp.MustCompile(`\A[A-Za-z0-9-]+:[^"\\*?\x00-\x1f]{1,256}\z`)
	placeholder = regexp.MustCompile(`\{[a-z][a-z0-9_]*\}`)
)

// outOfReach are services that no session policy may open: their actions give out more.
var outOfReach = []string{"sts", "iam", "organizations", "sso"}

// target makes a target of what is written. Lines of a ready mapping are zero: then the
// fault stands at the mapping.
func (l *loader) target(a *policy.AWS, w *policy.AWSTarget, values map[string]string) (target, bool) {
	before := len(l.faults)
	t := target{segments: w.Segments, closed: w.Closed, loose: !w.Clean}
	if len(w.Actions) == 0 {
		l.fault(at(a, w.Line), "the target has no IAM actions", "add actions: [service:Action, …]")
	}
	for _, action := range w.Actions {
		switch prefix, _, _ := strings.Cut(action.Value, ":"); {
		case !iamAction.MatchString(action.Value):
			l.fault(at(a, action.Line), fmt.Sprintf("%q is not an IAM action", action.Value), "write service:Action in full, without wildcards")
		case slices.Contains(outOfReach, prefix):
			l.fault(at(a, action.Line), fmt.Sprintf("%s gives out more than any scope says", action.Value), "sts and iam stay shut in every session")
		default:
			t.actions = append(t.actions, action.Value)
		}
	}
	slices.Sort(t.actions)
	t.actions = slices.Compact(t.actions)
	t.conditions = append(l.conditions(a, w.Conditions), l.conditions(a, a.Conditions)...)
	l.resource(a, w, &t, values)
	t.conditions = ordered(t.conditions)
	t.under = conditionsKey(t.conditions)
	for i, c := range t.conditions {
		twice := i > 0 && c.Operator == t.conditions[i-1].Operator && strings.EqualFold(c.Key, t.conditions[i-1].Key)
		if twice || strings.EqualFold(c.Key, "aws:CurrentTime") || t.prefix != "" && (strings.EqualFold(c.Key, t.prefix) || strings.EqualFold(c.Key, t.delimiter)) {
			l.fault(at(a, w.Line), fmt.Sprintf("the condition %s on %s is taken", c.Operator, c.Key), "merge it with the other; those on the time and on what a list shows are Writ's")
		}
	}
	if w.Closed && w.Segments == 0 {
		l.fault(at(a, w.Line), "a closed target has a number of segments", "add segments:, or leave closed out")
	}
	return t, len(l.faults) == before
}

// resource reads the ARN, and the prefix of a list.
func (l *loader) resource(a *policy.AWS, w *policy.AWSTarget, t *target, values map[string]string) {
	separator := w.Separator.Value
	if separator == "" {
		separator = "/"
	}
	if separator != "/" && separator != ":" {
		l.fault(at(a, w.Separator.Line), fmt.Sprintf("the separator is %q", separator), "write / or :")
		return
	}
	text := l.fill(a, w.Resource, values)
	line := at(a, w.Resource.Line)
	p, err := placed(text, separator)
	switch {
	case err != nil:
		l.fault(line, fmt.Sprintf("resource %q: %v", text, err), "write it as arn:{partition}:service:{region}:{account}:type/{path}")
		return
	case text != "*" && !strings.HasPrefix(text, "arn:"):
		l.fault(line, fmt.Sprintf("resource %q is not an ARN", text), "write it as arn:{partition}:service:{region}:{account}:type/{path}, or *")
		return
	case p != nil && (strings.Contains(p.suffix, separator) || strings.Contains(p.suffix, "*") && !strings.HasPrefix(p.suffix, ":")):
		l.fault(line, fmt.Sprintf("what follows the path, %q, could be a part of it", p.suffix), "end the ARN with the path; or with ':' and what follows a name")
		return
	case p != nil && p.part > w.Segments:
		l.fault(line, fmt.Sprintf("there may be no segment {%d}", p.part), "add segments: with how many a resource has")
		return
	case p != nil && p.part > 0 && !w.Closed:
		l.fault(line, "one segment can stand alone only in a closed target", "add closed: true if no name there has a separator in it")
		return
	}
	t.place, t.resource = p, text
	if p == nil && w.List != nil {
		l.list(a, w.List, t, values)
	}
	if p != nil && w.List != nil {
		l.fault(at(a, w.List.Line), "a list is of a resource without {path}", "write the path as the list's value:")
	}
}

func (l *loader) list(a *policy.AWS, w *policy.AWSList, t *target, values map[string]string) {
	text := l.fill(a, w.Value, values)
	p, err := placed("arn:a:a:a:a:"+text, "/")
	switch {
	case err != nil || p == nil || p.part > 0 || p.suffix != "":
		l.fault(at(a, w.Value.Line), fmt.Sprintf("the value %q of the list is not valid", text), `write "{path}", or "{prefix}{path}"`)
		return
	case !conditionID.MatchString(w.Prefix.Value) || !conditionID.MatchString(w.Delimiter.Value):
		l.fault(at(a, w.Line), "a list needs the condition keys of its prefix and its delimiter", "write them as s3:prefix and s3:delimiter")
		return
	}
	p.root = strings.TrimPrefix(p.root, "arn:a:a:a:a:")
	t.place, t.prefix, t.delimiter = p, w.Prefix.Value, w.Delimiter.Value
}

// fill puts values in the place of parameters; {path} and {1} stay.
func (l *loader) fill(a *policy.AWS, t policy.AWSText, values map[string]string) string {
	text := placeholder.ReplaceAllStringFunc(t.Value, func(found string) string {
		name := found[1 : len(found)-1]
		v, ok := values[name]
		if !ok && name != "path" {
			l.fault(at(a, t.Line), fmt.Sprintf("nothing gives {%s} a value", name), fmt.Sprintf("add with: {%s: …}", name))
			return ""
		}
		if name == "path" {
			return found
		}
		return v
	})
	if err := checkText(strings.NewReplacer("{", "", "}", "").Replace(text)); err != nil {
		l.fault(at(a, t.Line), err.Error(), "policy variables belong into conditions")
	}
	return text
}

func (l *loader) conditions(a *policy.AWS, written []policy.AWSCondition) []iam.Condition {
	var all []iam.Condition
	for _, w := range written {
		c := iam.Condition{Operator: w.Operator, Key: w.Key}
		if !operator.MatchString(w.Operator) || !conditionID.MatchString(w.Key) || len(w.Values) == 0 {
			l.fault(at(a, w.Line), fmt.Sprintf("%s on %s is not a condition", w.Operator, w.Key), "write it as IAM does: {StringEquals: {\"aws:PrincipalTag/team\": sales}}")
			continue
		}
		for _, v := range w.Values {
			if err := iam.CheckCharacters(v.Value); err != nil {
				l.fault(at(a, v.Line), fmt.Sprintf("%v cannot stand in a session policy", err), "use characters from space to ÿ")
			}
			c.Values = append(c.Values, v.Value)
		}
		slices.Sort(c.Values)
		c.Values = slices.Compact(c.Values)
		all = append(all, c)
	}
	return all
}

// at is a line of the bundle: that of the mapping, for what a ready mapping says.
func at(a *policy.AWS, line int) int {
	if line == 0 {
		return a.Line
	}
	return line
}
