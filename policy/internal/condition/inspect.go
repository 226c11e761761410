package condition

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
)

// inspect walks a checked expression: what it reads, what it asks of the time, and whether it does
// anything that a condition must not.
func inspect(checked *ast.AST) (Reads, clock, error) {
	var reads Reads
	var c clock
	var fault error
	references := checked.ReferenceMap()
	fail := func(err error) {
		if fault == nil {
			fault = err
		}
	}
	ast.PreOrderVisit(ast.NavigateAST(checked), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			name := e.AsIdent()
			if r, ok := references[e.ID()]; ok && r.Name != "" {
				name = r.Name
			}
			name = strings.TrimPrefix(name, ".")
			reads |= readsOf(name)
			if name == "request.time" {
				if err := c.readTime(e.(ast.NavigableExpr)); err != nil {
					fail(err)
				}
			}
		case ast.CallKind:
			if err := checkZone(e.AsCall()); err != nil {
				fail(err)
			}
		case ast.ComprehensionKind:
			if err := checkNames(e.AsComprehension()); err != nil {
				fail(err)
			}
		default: // what else there is has neither a name nor a zone
		}
	}))
	return reads, c, fault
}

func readsOf(name string) Reads {
	switch {
	case strings.HasPrefix(name, "agent."):
		return ReadsAgent
	case name == "resource.tags":
		return ReadsTags
	case name == "tool", name == "request.audience":
		return ReadsTool
	case name == "action":
		return ReadsAction
	case name == "request.time":
		return ReadsTime
	}
	return 0
}

// checkZone refuses a zone that is looked up at run time, of whatever timestamp.
func checkZone(call ast.CallExpr) error {
	if !call.IsMemberFunction() || len(call.Args()) != 1 || !strings.HasPrefix(call.FunctionName(), "get") {
		return nil
	}
	if _, ok := calendarUnits[call.FunctionName()]; !ok {
		return &Error{call.FunctionName() + " with a zone is not supported", "leave the zone out"}
	}
	_, err := constantZone(call.Args()[0])
	return err
}

// checkNames refuses loops whose variable hides one of ours: request.time inside such a loop
// would be hard to tell from the request's.
func checkNames(c ast.ComprehensionExpr) error {
	for _, name := range []string{c.IterVar(), c.IterVar2(), c.AccuVar()} {
		if slices.Contains([]string{"subject", "agent", "request", "resource", "env", "tool", "action"}, name) {
			return &Error{fmt.Sprintf("the loop variable %q hides a variable of conditions", name), "give it another name"}
		}
	}
	return nil
}
