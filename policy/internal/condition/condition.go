// Package condition compiles and evaluates the CEL conditions of policy rules.
//
// It owns what a condition may read, how much it may cost, and when its result may change with
// time. It must never let a condition read the clock, the host's time zone or anything else that is
// not in its [Input]. It is called by package policy only.
package condition

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // so that a zone means the same on every host

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// Limits of a condition.
const (
	MaxTextBytes = 4096
	// MaxCost bounds an evaluation, in CEL's units. Where the estimate at load stays below it, no
	// cost is tracked at run time.
	MaxCost = 100_000
	// maxSize is how large a value in an Input may be: nothing that a request carries is larger.
	maxSize = 64 << 10
)

// Where says which variables a condition may read.
type Where int

const (
	// OnPrincipal sees subject, agent, request.time, request.task, request.source_ip and env.
	OnPrincipal Where = iota
	// OnResource sees tool, action, resource.tags and request.audience as well.
	OnResource
)

// Reads says which of the variables that differ within one request a condition reads.
type Reads uint8

// The variables that differ within a request.
const (
	ReadsAgent Reads = 1 << iota
	ReadsTags
	ReadsTool // request.audience too: it is the audience of the tool
	ReadsAction
	ReadsTime
)

// Env compiles conditions. It is safe for concurrent use.
type Env struct{ onPrincipal, onResource *cel.Env }

// NewEnv builds the CEL environments.
func NewEnv() (*Env, error) {
	attributes := cel.MapType(cel.StringType, cel.DynType)
	text := cel.MapType(cel.StringType, cel.StringType)
	options := []cel.EnvOption{
		ext.Network(),
		cel.EnableMacroCallTracking(), // the canonical text is written with macros, as it was read
		cel.ParserExpressionSizeLimit(MaxTextBytes),
		cel.Variable("request.time", cel.TimestampType),
		cel.Variable("request.task", cel.StringType),
		cel.Variable("request.source_ip", cel.StringType),
		cel.Variable("env", text),
	}
	for _, who := range []string{"subject", "agent"} {
		options = append(options,
			cel.Variable(who+".id", cel.StringType),
			cel.Variable(who+".issuer", cel.StringType),
			cel.Variable(who+".source", cel.StringType),
			cel.Variable(who+".kind", cel.StringType),
			cel.Variable(who+".attributes", attributes))
	}
	onPrincipal, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("building the environment of conditions: %w", err)
	}
	onResource, err := onPrincipal.Extend(
		cel.Variable("request.audience", cel.StringType),
		cel.Variable("tool", cel.StringType),
		cel.Variable("action", cel.StringType),
		cel.Variable("resource.tags", text))
	if err != nil {
		return nil, fmt.Errorf("building the environment of conditions: %w", err)
	}
	return &Env{onPrincipal, onResource}, nil
}

// Error is what is wrong with a condition, and what to do about it.
type Error struct{ Message, Hint string }

// Error is the message.
func (e *Error) Error() string { return e.Message }

// Condition is a compiled condition. It is immutable and safe for concurrent use.
type Condition struct {
	text    string
	reads   Reads
	program cel.Program
	clock   clock

	attributes Attributes
}

// Compile checks and compiles a condition. The error is an *Error.
func (e *Env) Compile(text string, where Where) (*Condition, error) {
	env := e.onPrincipal
	if where == OnResource {
		env = e.onResource
	}
	if strings.TrimSpace(text) == "" {
		return nil, &Error{"the condition is empty", "leave the key out, or write a CEL expression that is true or false"}
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, &Error{"the condition is not CEL: " + describe(issues), "see https://cel.dev for the language"}
	}
	canonical, err := cel.AstToString(parsed)
	if err != nil {
		return nil, &Error{"the condition cannot be written canonically: " + err.Error(), "write it more simply"}
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, &Error{"the condition does not type-check: " + describe(issues), variablesHint(where)}
	}
	if checked.OutputType() != cel.BoolType {
		return nil, &Error{
			fmt.Sprintf("the condition is of type %s, not bool", cel.FormatCELType(checked.OutputType())),
			"compare it with something, as in agent.attributes.team == \"data\"",
		}
	}
	c := &Condition{text: canonical, attributes: attributesOf(checked.NativeRep())}
	if c.reads, c.clock, err = inspect(checked.NativeRep()); err != nil {
		return nil, err
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(fixZones)}
	cost, err := env.EstimateCost(checked, sizes{})
	switch {
	case err != nil:
		return nil, &Error{"the cost of the condition cannot be estimated: " + err.Error(), "write it more simply"}
	case cost.Min > MaxCost:
		return nil, &Error{fmt.Sprintf("the condition costs at least %d, more than %d", cost.Min, MaxCost), "write it with fewer nested loops"}
	case cost.Max > MaxCost:
		options = append(options, cel.CostLimit(MaxCost))
	}
	if c.program, err = env.Program(checked, options...); err != nil {
		return nil, &Error{"the condition cannot be compiled: " + err.Error(), "write it more simply"}
	}
	return c, nil
}

// String is the canonical text.
func (c *Condition) String() string { return c.text }

// Reads says what the result depends on within one request.
func (c *Condition) Reads() Reads { return c.reads }

// Attributes says which attributes of principals it reads.
func (c *Condition) Attributes() Attributes { return c.attributes }

// errNotBool cannot happen: the type was checked.
var errNotBool = errors.New("the condition did not give true or false")

// Eval evaluates the condition. An error is no result: whoever grants must take it for false,
// whoever denies for true.
func (c *Condition) Eval(in *Input) (bool, error) {
	if err := c.attributes.Subject.known(in.Subject); err != nil {
		return false, err
	}
	if err := c.attributes.Agent.known(in.Agent); err != nil {
		return false, err
	}
	out, _, err := c.program.Eval(in)
	if err != nil {
		return false, err
	}
	if out == types.True {
		return true, nil
	}
	if out == types.False {
		return false, nil
	}
	return false, errNotBool
}

// Next is the first instant after t at which the result may differ from that at t; false if
// there is none.
func (c *Condition) Next(t time.Time) (time.Time, bool) { return c.clock.next(t) }

func describe(issues *cel.Issues) string {
	var parts []string
	for _, e := range issues.Errors() {
		parts = append(parts, fmt.Sprintf("%d:%d: %s", e.Location.Line(), e.Location.Column()+1, e.Message))
	}
	return strings.Join(slices.Compact(parts), "; ")
}

func variablesHint(where Where) string {
	who := "subject and agent (.id .issuer .source .kind .attributes), request.time, request.task, request.source_ip, env"
	if where == OnPrincipal {
		return "variables here: " + who + "; what depends on the resource belongs to a grant, a deny or a delegation"
	}
	return "variables: " + who + ", request.audience, tool, action, resource.tags"
}
