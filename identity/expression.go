package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/writbroker/writ/token"
)

const (
	maxExpressionBytes = 4096
	// maxRegexProgram bounds the compiled form of one pattern, so that counted repetition
	// cannot make a short pattern expensive.
	maxRegexProgram = 2000
	// maxExpressionCost is in CEL's cost units, for the largest token that can be. A plain
	// comparison costs about 5, one pass over the longest possible list about 100,000.
	maxExpressionCost = 5_000_000
)

// language is the CEL environment that all expressions of a registry are compiled in.
type language struct{ env *cel.Env }

func newLanguage() (*language, error) {
	env, err := cel.NewEnv(
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.OptionalTypes(),
		ext.Strings(ext.StringsVersion(5)),
		cel.ParserExpressionSizeLimit(maxExpressionBytes),
		cel.RegexProgramSizeLimit(maxRegexProgram),
		cel.Macros(
			cel.ReceiverMacro("matches", 1, anchorReceiver),
			cel.GlobalMacro("matches", 2, anchorGlobal),
		),
		cel.Function("after", cel.MemberOverload("string_after_string",
			[]*cel.Type{cel.StringType, cel.StringType}, cel.StringType, cel.BinaryBinding(after))),
	)
	if err != nil {
		return nil, fmt.Errorf("making the expression language: %w", err)
	}
	return &language{env: env}, nil
}

// after is s.after(prefix): what follows prefix in s. It is an error if s does not begin with
// prefix, so that a mapping that strips one cannot let anything else through.
func after(s, prefix ref.Val) ref.Val {
	text, okText := s.(types.String)
	lead, okLead := prefix.(types.String)
	if !okText || !okLead {
		return types.MaybeNoSuchOverloadErr(s)
	}
	rest, found := strings.CutPrefix(string(text), string(lead))
	if !found {
		return types.NewErr("after: prefix not there")
	}
	return types.String(rest)
}

func anchorReceiver(f cel.MacroExprFactory, target ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	pattern, err := anchored(f, args[0])
	if err != nil {
		return nil, err
	}
	return f.NewMemberCall("matches", target, pattern), nil
}

func anchorGlobal(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
	pattern, err := anchored(f, args[1])
	if err != nil {
		return nil, err
	}
	return f.NewCall("matches", args[0], pattern), nil
}

// anchored makes a pattern match the whole text or nothing. Whoever writes matches('repo-[0-9]+')
// means that, and CEL's own search semantics would accept 'evil/repo-1'. The pattern must be a literal:
// one taken from a claim would be written by whoever presents the token.
func anchored(f cel.MacroExprFactory, pattern ast.Expr) (ast.Expr, *common.Error) {
	if pattern.Kind() != ast.LiteralKind {
		return nil, f.NewError(pattern.ID(), "the pattern of matches must be a string literal")
	}
	text, ok := pattern.AsLiteral().(types.String)
	if !ok {
		return nil, f.NewError(pattern.ID(), "the pattern of matches must be a string literal")
	}
	// Compiled alone first: 'a)|(b' is no pattern, but would be one between the parentheses below.
	if _, err := regexp.Compile(string(text)); err != nil {
		return nil, f.NewError(pattern.ID(), "pattern: "+err.Error())
	}
	return f.NewLiteral(types.String(`\A(?:` + string(text) + `)\z`)), nil
}

// compile type-checks an expression, bounds its cost and plans it. accept decides on its type.
func (l *language) compile(expression string, accept func(*cel.Type) error) (cel.Program, error) {
	if strings.TrimSpace(expression) == "" {
		return nil, errors.New("the expression is empty")
	}
	checked, issues := l.env.Compile(expression)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	if err := accept(checked.OutputType()); err != nil {
		return nil, err
	}
	estimate, err := l.env.EstimateCost(checked, claimSizes{})
	if err != nil {
		return nil, fmt.Errorf("estimating its cost: %w", err)
	}
	if estimate.Max > maxExpressionCost {
		return nil, errors.New("could take too long on a large token: " +
			"avoid loops within loops, and replace matches or contains inside a loop by == or startsWith")
	}
	program, err := l.env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("planning: %w", err)
	}
	return program, nil
}

// claimSizes bounds every string, list and map of a payload: it is base64 inside of a token
// of at most token.MaxBytes. That makes the estimate at load an upper bound for every evaluation,
// so that none needs to be metered.
type claimSizes struct{}

func (claimSizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	longest := uint64(token.MaxBytes / 4 * 3)
	if kind := node.Type().Kind(); kind == types.ListKind || kind == types.MapKind {
		longest /= 2 // an element and its comma
	}
	return &cost.SizeEstimate{Min: 0, Max: longest}
}

func (claimSizes) EstimateCallCost(_, overloadID string, target *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if overloadID != "string_after_string" || target == nil {
		return nil
	}
	size := cost.EstimateSize(claimSizes{}, *target)
	return &cost.CallEstimate{CostEstimate: size.MultiplyByCostFactor(0.1), ResultSize: &size}
}

func acceptBool(t *cel.Type) error {
	if t.Kind() == types.BoolKind || t.Kind() == types.DynKind {
		return nil
	}
	return fmt.Errorf("a rule must be a bool, this is %s", t)
}

func acceptText(t *cel.Type) error {
	if k := present(t).Kind(); k == types.StringKind || k == types.DynKind {
		return nil
	}
	return fmt.Errorf("the subject must be a string, this is %s; convert it with string(…)", t)
}

func acceptAttribute(t *cel.Type) error {
	switch present(t).Kind() {
	case types.StringKind, types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind,
		types.ListKind, types.MapKind, types.DynKind:
		return nil
	default:
		return fmt.Errorf("an attribute cannot be of type %s; convert it, for example with string(…)", t)
	}
}

// present is the type inside of an optional.
func present(t *cel.Type) *cel.Type {
	if t.Kind() == types.OpaqueKind && t.TypeName() == types.OptionalType.TypeName() && len(t.Parameters()) == 1 {
		return t.Parameters()[0]
	}
	return t
}
