package condition

import (
	"errors"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Attributes says which attributes of principals a condition reads.
type Attributes struct{ Subject, Agent Named }

// Named are attributes of one principal.
type Named struct {
	Names []string // in the order of the text, repeated where it repeats them
	All   bool     // it may read any: a name is computed, or the attributes are looked at as a whole
}

// errUnknown: whether a principal has an attribute that the condition reads is not known.
var errUnknown = errors.New("an attribute that the condition reads is not known")

// known fails if one of these is not known of a principal.
func (n *Named) known(p *Party) error {
	if p == nil || !p.Partial {
		return nil
	}
	if n.All {
		return errUnknown
	}
	for _, name := range n.Names {
		if _, ok := p.Attributes[name]; !ok {
			return errUnknown
		}
	}
	return nil
}

// attributesOf finds them in a checked expression: subject.attributes.x, has(…) of it, and
// agent.attributes["x"].
func attributesOf(checked *ast.AST) Attributes {
	var out Attributes
	references := checked.ReferenceMap()
	visitor := ast.NewExprVisitor(func(e ast.Expr) {
		var of *Named
		switch identOf(e, references) {
		case "subject.attributes":
			of = &out.Subject
		case "agent.attributes":
			of = &out.Agent
		default:
			return
		}
		nav, ok := e.(ast.NavigableExpr)
		if !ok {
			of.All = true
			return
		}
		parent, ok := nav.Parent()
		if field, named := memberOf(parent, ok, e); named {
			of.Names = append(of.Names, field)
		} else {
			of.All = true
		}
	})
	ast.PreOrderVisit(ast.NavigateAST(checked), visitor)
	return out
}

func identOf(e ast.Expr, references map[int64]*ast.ReferenceInfo) string {
	if e.Kind() != ast.IdentKind {
		return ""
	}
	name := e.AsIdent()
	if r, ok := references[e.ID()]; ok && r.Name != "" {
		name = r.Name
	}
	return strings.TrimPrefix(name, ".")
}

// memberOf gives the member that parent takes of the attributes e, if its name is written out.
func memberOf(parent ast.NavigableExpr, ok bool, e ast.Expr) (string, bool) {
	if !ok {
		return "", false
	}
	switch parent.Kind() {
	case ast.SelectKind:
		return parent.AsSelect().FieldName(), true
	case ast.CallKind:
		call := parent.AsCall()
		args := call.Args()
		if call.FunctionName() != operators.Index || len(args) != 2 || args[0].ID() != e.ID() || args[1].Kind() != ast.LiteralKind {
			return "", false
		}
		s, isText := args[1].AsLiteral().(types.String)
		return string(s), isText
	default:
		return "", false
	}
}
