package awssts

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/writbroker/writ/policy"
	"github.com/writbroker/writ/scopes"
)

var (
	roleARN   = regexp.MustCompile(`\Aarn:([a-z][a-z0-9-]*):iam::([0-9]{12})?:role/[A-Za-z0-9_+=,.@/-]{1,512}\z`)
	policyARN = regexp.MustCompile(`\Aarn:[a-z][a-z0-9-]*:iam::([0-9]{12}|aws):policy/[A-Za-z0-9_+=,.@/-]{1,512}\z`)
	envName   = regexp.MustCompile(`\{env\.([A-Za-z0-9_]+)\}`)
	value     = regexp.MustCompile(`\A[A-Za-z0-9._~@=/:+,-]{1,512}\z`)
	parameter = regexp.MustCompile(`\A[a-z][a-z0-9_]*\z`)
	bucket    = regexp.MustCompile(`\A[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\z`)
	region    = regexp.MustCompile(`\A[a-z0-9-]{2,32}\z`)
)

// loader collects the faults of all tools.
type loader struct {
	environment map[string]string
	services    map[string]service
	faults      []policy.Fault
	file, rule  string
}

func (l *loader) fault(line int, message, hint string) {
	l.faults = append(l.faults, policy.Fault{File: l.file, Line: line, Rule: l.rule, Message: message, Hint: hint})
}

func (l *loader) mapping(t *policy.Tool) *mapping {
	a := t.AWS
	l.file, l.rule = a.File, "tool "+t.Name
	m := &mapping{targets: map[string]map[string][]target{}, managed: map[string][]managed{}}
	m.roles = l.roles(a)
	actions, known := l.actions(t)
	with := l.with(a, known)
	for _, r := range m.roles {
		m.targets[r.ARN] = map[string][]target{}
		values := l.values(r.ARN, with)
		for _, action := range actions {
			for i := range action.Targets {
				if made, ok := l.target(a, &action.Targets[i], values); ok {
					m.targets[r.ARN][action.Name] = append(m.targets[r.ARN][action.Name], made)
				}
			}
		}
		m.managed[r.ARN] = l.managed(t, m, r.ARN)
	}
	return m
}

func (l *loader) roles(a *policy.AWS) []Role {
	written := a.Roles
	switch {
	case a.Role.Line == 0 && len(a.Roles) == 0:
		l.fault(a.Line, "the mapping has no role", "add role: with the ARN of the role that its credentials are of, or roles: {name: ARN, …}")
		return nil
	case a.Role.Line != 0 && len(a.Roles) > 0:
		l.fault(a.Role.Line, "both role and roles are given", "write one of them; the role named default is taken where none is asked for")
		return nil
	case a.Role.Line != 0:
		written = []policy.AWSParameter{{Name: DefaultRole, AWSText: a.Role}}
	}
	var roles []Role
	for _, w := range written {
		arn := l.expand(w.AWSText)
		if !roleARN.MatchString(arn) {
			l.fault(w.Line, fmt.Sprintf("%q is not the ARN of a role", arn), "write it as arn:aws:iam::123456789012:role/NAME")
			continue
		}
		roles = append(roles, Role{Name: w.Name, ARN: arn})
	}
	return roles
}

// expand fills in {env.NAME}.
func (l *loader) expand(t policy.AWSText) string {
	return envName.ReplaceAllStringFunc(t.Value, func(found string) string {
		name := found[len("{env.") : len(found)-1]
		v, ok := l.environment[name]
		if !ok {
			l.fault(t.Line, fmt.Sprintf("the environment has no %q", name), "known there: "+strings.Join(sortedKeys(l.environment), ", "))
		}
		return v
	})
}

// actions returns the actions that the tool has in AWS, and the names of the parameters that
// a ready mapping knows (nil: any).
func (l *loader) actions(t *policy.Tool) ([]policy.AWSAction, *service) {
	a := t.AWS
	switch {
	case a.Service.Line == 0 && len(a.Actions) == 0:
		l.fault(a.Line, "the mapping has neither a service nor actions", "add service: with one of "+strings.Join(Services(), ", ")+"; or write actions: out")
		return nil, nil
	case a.Service.Line != 0 && len(a.Actions) > 0:
		l.fault(a.Service.Line, "both service and actions are given", "write the actions out, or leave them to the service")
		return nil, nil
	case a.Service.Line == 0:
		for _, action := range a.Actions {
			if !slices.Contains(t.Actions, action.Name) {
				l.fault(action.Line, fmt.Sprintf("the tool has no action %q", action.Name), "its actions: "+strings.Join(t.Actions, ", "))
			}
			if len(action.Targets) == 0 {
				l.fault(action.Line, fmt.Sprintf("the action %q reaches nothing", action.Name), "add - {actions: [service:Action], resource: ARN}")
			}
		}
		return a.Actions, nil
	}
	s, ok := l.services[a.Service.Value]
	if !ok {
		l.fault(a.Service.Line, fmt.Sprintf("unknown service %q", a.Service.Value), "ready are: "+strings.Join(Services(), ", ")+"; others are written out under actions:")
		return nil, nil
	}
	var mapped []policy.AWSAction
	var names []string
	for _, action := range s.actions {
		names = append(names, action.Name)
		if slices.Contains(t.Actions, action.Name) {
			mapped = append(mapped, action)
		}
	}
	if len(mapped) == 0 {
		l.fault(a.Service.Line, fmt.Sprintf("the tool has no action of the service %q", a.Service.Value), "the service has: "+strings.Join(names, ", "))
	}
	return mapped, &s
}

// with checks the parameters that are written, and returns their values.
func (l *loader) with(a *policy.AWS, s *service) map[string]string {
	values := map[string]string{}
	for _, p := range a.With {
		switch v := l.expand(p.AWSText); {
		case !parameter.MatchString(p.Name) || p.Name == "path":
			l.fault(p.Line, fmt.Sprintf("%q cannot be a parameter", p.Name), "use a-z, 0-9 and '_'; path is the scope's resource")
		case s != nil && !slices.Contains(slices.Concat(s.required, s.optional, []string{"account", "partition"}), p.Name):
			l.fault(p.Line, fmt.Sprintf("the service %s has no parameter %q", a.Service.Value, p.Name), "it has: "+strings.Join(slices.Concat(s.required, s.optional), ", "))
		case !value.MatchString(v) || p.Name == "bucket" && !bucket.MatchString(v) || p.Name == "region" && !region.MatchString(v):
			l.fault(p.Line, fmt.Sprintf("the %s %q is not valid", p.Name, v), "write it as AWS does, without wildcards and variables")
			values[p.Name] = p.Name // so that it is reported once
		case p.Name == "prefix":
			values[p.Name] = strings.TrimRight(v, "/") + "/"
		default:
			values[p.Name] = v
		}
	}
	if s == nil {
		return values
	}
	for _, name := range s.required {
		if !slices.ContainsFunc(a.With, func(p policy.AWSParameter) bool { return p.Name == name }) {
			l.fault(a.Line, fmt.Sprintf("the service %s needs a %s", a.Service.Value, name), fmt.Sprintf("add with: {%s: …}", name))
			values[name] = name // so that it is reported once
		}
	}
	return values
}

// values are the parameters for one role: its account and partition are those that are meant
// where none are written.
func (l *loader) values(arn string, with map[string]string) map[string]string {
	values := map[string]string{"prefix": ""}
	if found := roleARN.FindStringSubmatch(arn); found != nil {
		values["partition"], values["account"] = found[1], found[2]
		if !strings.HasPrefix(found[1], "aws") {
			values["partition"] = "aws" // stand-ins for AWS name their roles otherwise, and their resources alike
		}
	}
	maps.Copy(values, with)
	return values
}

// managed are the policies that can stand for scopes in sessions of one role.
func (l *loader) managed(t *policy.Tool, m *mapping, role string) []managed {
	var all []managed
	for _, w := range t.AWS.Managed {
		arn := l.expand(w.Policy)
		found := policyARN.FindStringSubmatch(arn)
		if found == nil {
			l.fault(w.Line, fmt.Sprintf("%q is not the ARN of a managed policy", arn), "write it as arn:aws:iam::123456789012:policy/NAME")
			continue
		}
		set, ok := l.managedScopes(t, m.targets[role], &w)
		l.unconditioned(set, m.targets[role], &w)
		if account := roleARN.FindStringSubmatch(role)[2]; ok && (found[1] == account || found[1] == "aws") {
			all = append(all, managed{arn, set})
		}
	}
	return all
}

// unconditioned refuses a managed policy for what the catalog allows under conditions alone: those
// hold in the inline policy, and whoever asks for more than has room there would be rid of them.
func (l *loader) unconditioned(set scopes.Set, mapped map[string][]target, w *policy.AWSManaged) {
	for s := range set.All() {
		if slices.ContainsFunc(mapped[s.Action()], func(t target) bool { return len(t.conditions) > 0 }) {
			l.fault(w.Line, fmt.Sprintf("the conditions of %s would not hold in a managed policy", s), "leave the scope to the inline policy, or put it into a tool without conditions")
			return
		}
	}
}

func (l *loader) managedScopes(t *policy.Tool, mapped map[string][]target, w *policy.AWSManaged) (scopes.Set, bool) {
	var parsed []scopes.Scope
	for _, text := range w.Scopes {
		s, err := scopes.Parse(text.Value)
		switch {
		case err != nil:
			l.fault(text.Line, fmt.Sprintf("%q is not a scope: %v", text.Value, err), "write tool:action:resource")
		case s.Tool() != t.Name:
			l.fault(text.Line, fmt.Sprintf("the scope %s is of another tool", s), "a managed policy stands under the tool that it is for")
		case s.Action() != scopes.AnyAction && len(mapped[s.Action()]) == 0:
			l.fault(text.Line, fmt.Sprintf("the action of %s is not in AWS", s), "name actions that are: "+strings.Join(sortedKeys(mapped), ", "))
		default:
			parsed = append(parsed, s)
		}
	}
	if len(w.Scopes) == 0 {
		l.fault(w.Line, "the managed policy stands for no scopes", "add scopes: with exactly what it allows")
	}
	set, err := scopes.NewSet(parsed...)
	if err == nil {
		set, err = set.Expand(func(string) []string { return sortedKeys(mapped) })
	}
	if err != nil {
		l.fault(w.Line, err.Error(), "name fewer")
	}
	return set, err == nil && len(parsed) > 0 && len(parsed) == len(w.Scopes)
}
