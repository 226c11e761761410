package identity

import (
	"errors"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

var (
	errAbsent   = errors.New("not there")
	errNotPlain = errors.New("not a plain value")
)

// activation binds `claims`. The claims are adapted to CEL once for all expressions of a source.
type activation struct{ claims ref.Val }

func activate(claims map[string]any) *activation {
	return &activation{claims: types.DefaultTypeAdapter.NativeToValue(claims)}
}

// ResolveName is for CEL.
func (a *activation) ResolveName(name string) (any, bool) {
	if name == "claims" {
		return a.claims, true
	}
	return nil, false
}

// Parent is for CEL.
func (a *activation) Parent() cel.Activation { return nil }

// evaluate returns the plain Go value of an expression, or errAbsent for an empty optional.
func evaluate(program cel.Program, vars *activation) (any, error) {
	out, _, err := program.Eval(vars)
	if err != nil {
		return nil, err
	}
	return plain(out)
}

// plain converts a CEL value into what policy can read. A null is not a value: a claim that is
// null is as good as missing.
func plain(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.Double:
		return float64(v), nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, errAbsent
		}
		return plain(v.GetValue())
	case traits.Mapper:
		return plainMap(v)
	case traits.Lister:
		return plainList(v)
	default:
		return nil, errNotPlain
	}
}

func plainList(list traits.Lister) (any, error) {
	out := []any{}
	for it := list.Iterator(); it.HasNext() == types.True; {
		element, err := plain(it.Next())
		if err != nil {
			return nil, errNotPlain
		}
		out = append(out, element)
	}
	return out, nil
}

// plainMap leaves out members that are null, as platforms write for "none".
func plainMap(m traits.Mapper) (any, error) {
	out := map[string]any{}
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, errNotPlain
		}
		member := m.Get(key)
		if member == types.NullValue {
			continue
		}
		value, err := plain(member)
		if err != nil {
			return nil, errNotPlain
		}
		out[string(name)] = value
	}
	return out, nil
}
