package condition

import (
	"net/netip"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
)

// Party is a principal as conditions see it.
type Party struct {
	ID, Issuer, Source, Kind string
	// Attributes may hold what JSON can, with integers as int64 or uint64. It is read only.
	Attributes map[string]any
	// Partial: an attribute that is not there is not known. A condition that reads it fails.
	Partial bool
}

// Input is what one evaluation sees. It is reused: set the fields, then Eval.
type Input struct {
	Subject, Agent *Party
	// Tool, Action and Audience are types.String values, boxed once; nil where the condition is
	// compiled OnPrincipal.
	Tool, Action, Audience any
	// Tags of the resource, with types.String values.
	Tags     map[string]any
	Task     string
	SourceIP netip.Addr
	Env      map[string]any
	now      any
}

// SetTime sets request.time. It is always in UTC, whatever zone t has.
func (in *Input) SetTime(t time.Time) { in.now = types.Timestamp{Time: t.UTC()} }

// Box makes a text that conditions read without a further allocation.
func Box(s string) any { return types.String(s) }

// BoxMap boxes each value.
func BoxMap(m map[string]string) map[string]any {
	boxed := make(map[string]any, len(m))
	for k, v := range m {
		boxed[k] = types.String(v)
	}
	return boxed
}

// Parent implements cel.Activation.
func (in *Input) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (in *Input) ResolveName(name string) (any, bool) {
	switch name {
	case "tool":
		return in.Tool, in.Tool != nil
	case "action":
		return in.Action, in.Action != nil
	case "resource.tags":
		return in.Tags, in.Tags != nil
	case "env":
		return in.Env, true
	case "request.time":
		return in.now, true
	case "request.task":
		return in.Task, true
	case "request.audience":
		return in.Audience, in.Audience != nil
	case "request.source_ip":
		if !in.SourceIP.IsValid() {
			return "", true
		}
		return in.SourceIP.Unmap().WithZone("").String(), true
	case "subject.id", "subject.issuer", "subject.source", "subject.kind", "subject.attributes":
		return in.Subject.resolve(name[len("subject."):])
	case "agent.id", "agent.issuer", "agent.source", "agent.kind", "agent.attributes":
		return in.Agent.resolve(name[len("agent."):])
	}
	return nil, false
}

func (p *Party) resolve(field string) (any, bool) {
	switch field {
	case "id":
		return p.ID, true
	case "issuer":
		return p.Issuer, true
	case "source":
		return p.Source, true
	case "kind":
		return p.Kind, true
	case "attributes":
		return p.Attributes, true
	}
	return nil, false
}

// sizes bounds what variables can hold, for the estimate at load.
type sizes struct{}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if len(node.Path()) == 0 {
		return nil
	}
	return &cost.SizeEstimate{Min: 0, Max: maxSize}
}
