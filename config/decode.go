package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decoder lays a YAML tree over a struct. It is written out, rather than left to
// the YAML library, so that every fault of a file is found in one pass and each
// key's line is remembered for the checks that come after.
type decoder struct {
	file   string
	lookup func(name string) (string, bool)
	lines  map[string]int
	faults []Fault
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	variable     = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
)

func (d *decoder) fault(n *yaml.Node, key, message, hint string) {
	d.faults = append(d.faults, Fault{File: d.file, Line: n.Line, Key: key, Message: message, Hint: hint})
}

// value decodes n into v, which stands under key.
func (d *decoder) value(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.fault(n, key, "uses a YAML anchor or alias", "write the value out")
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		d.fault(n, key, "has no value", "give it one, or remove the key to have the default")
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(key, n, v.Elem())
	case reflect.Struct:
		d.mapping(key, n, v)
	case reflect.Slice:
		d.sequence(key, n, v)
	case reflect.Map:
		d.table(key, n, v)
	default:
		d.scalar(key, n, v)
	}
}

func (d *decoder) mapping(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, key, "must be a mapping of keys to values", "")
		return
	}
	fields, names := fieldsOf(v)
	d.entries(key, n, func(sub string, name, value *yaml.Node) {
		field, ok := fields[name.Value]
		if !ok {
			d.fault(name, sub, "is not a known key", suggest(name.Value, names))
			return
		}
		d.value(sub, value, field)
	})
}

func (d *decoder) table(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, key, "must be a mapping of names to texts", "")
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	d.entries(key, n, func(sub string, name, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(sub, value, element)
		v.SetMapIndex(reflect.ValueOf(name.Value), element)
	})
}

// entries calls do for each pair of a mapping, once a key: of a key that is given
// twice, nobody can say which value was meant.
func (d *decoder) entries(key string, n *yaml.Node, do func(sub string, name, value *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		sub := strings.TrimPrefix(key+"."+name.Value, ".")
		if first, ok := seen[name.Value]; ok {
			d.fault(name, sub, fmt.Sprintf("is given twice, first on line %d", first), "keep one")
			continue
		}
		seen[name.Value] = name.Line
		d.lines[sub] = name.Line
		do(sub, name, value)
	}
}

func (d *decoder) sequence(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.fault(n, key, "must be a list", `write it as [a, b] or as lines that start with "- "`)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		sub := fmt.Sprintf("%s[%d]", key, i)
		d.lines[sub] = item.Line
		d.value(sub, item, v.Index(i))
	}
}

func (d *decoder) scalar(key string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, key, "must be a single value", "")
		return
	}
	switch {
	case v.Type() == durationType:
		value, err := time.ParseDuration(n.Value)
		if err != nil {
			d.fault(n, key, fmt.Sprintf("%q is not a duration", n.Value), `write a number with its unit, such as "30s", "15m" or "24h"`)
			return
		}
		v.SetInt(int64(value))
	case v.Type() == sizeType:
		value, err := parseSize(n.Value)
		if err != nil {
			d.fault(n, key, err.Error(), `write bytes, or a number with KiB, MiB or GiB, such as "64MiB"`)
			return
		}
		v.SetInt(int64(value))
	case v.Kind() == reflect.String:
		if n.Tag != "!!str" {
			d.fault(n, key, fmt.Sprintf("%s is not a text", n.Value), "put it in quotes")
			return
		}
		v.SetString(d.expand(key, n))
	default:
		if err := n.Decode(v.Addr().Interface()); err != nil {
			d.fault(n, key, fmt.Sprintf("%q is not %s", n.Value, kindName(v.Kind())), "")
		}
	}
}

// expand replaces ${NAME} in the paths that end in _file, and refuses it where it
// would be taken for an expansion that does not happen.
func (d *decoder) expand(key string, n *yaml.Node) string {
	if !variable.MatchString(n.Value) || isExpression(key) {
		return n.Value
	}
	if !strings.HasSuffix(key, "_file") {
		d.fault(n, key, "environment variables are not expanded here",
			"only the keys that end in _file take ${NAME}; write the value itself")
		return n.Value
	}
	return variable.ReplaceAllStringFunc(n.Value, func(m string) string {
		name := m[2 : len(m)-1]
		value, ok := d.lookup(name)
		if !ok || value == "" {
			d.fault(n, key, "the environment variable "+name+" is not set", "set it, or write the path")
		}
		return value
	})
}

// isExpression reports whether the value at key is CEL, which has its own use for
// dollar signs and braces.
func isExpression(key string) bool {
	return strings.Contains(key, ".claims.") || strings.HasSuffix(key, ".expression")
}

func fieldsOf(v reflect.Value) (map[string]reflect.Value, []string) {
	fields := map[string]reflect.Value{}
	var names []string
	for i := range v.NumField() {
		// What follows a comma in the tag is about writing YAML.
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ","); name != "" {
			fields[name] = v.Field(i)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return fields, names
}

func kindName(k reflect.Kind) string {
	if k == reflect.Bool {
		return "true or false"
	}
	return "a number"
}
