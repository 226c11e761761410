// Package document reads strict YAML: every key known, every value of the type that is asked for,
// every fault reported with its line, none of them ending the reading.
//
// It knows nothing of policy. It is called by package policy only.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Report takes one fault: where, what, and what to do about it.
type Report func(line int, message, hint string)

// Split reads the documents of a file. Empty documents are left out. What cannot be read is
// reported, and the documents before it are returned.
func Split(data []byte, report Report) []*yaml.Node {
	var documents []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			line, message := yamlError(err)
			report(line, message, "the file is not YAML; check indentation and quotes")
			return documents
		}
		if node.Kind == yaml.DocumentNode && len(node.Content) == 1 && node.Content[0].ShortTag() != "!!null" {
			documents = append(documents, node.Content[0])
		}
	}
}

var yamlLine = regexp.MustCompile(`\Ayaml: (?:line (\d+): )?(.*)\z`)

func yamlError(err error) (int, string) {
	found := yamlLine.FindStringSubmatch(err.Error())
	if found == nil {
		return 1, err.Error()
	}
	line, convErr := strconv.Atoi(found[1])
	if convErr != nil {
		line = 1
	}
	return line, found[2]
}

// Fields maps the keys of a mapping to what reads them.
type Fields map[string]func(*yaml.Node)

// Mapping reads a mapping: each key once, and only keys of fields.
func Mapping(node *yaml.Node, report Report, fields Fields) bool {
	if !plain(node, report) {
		return false
	}
	if node.Kind != yaml.MappingNode {
		report(node.Line, "expected keys and values, got "+kindOf(node), "write key: value, one a line")
		return false
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			report(key.Line, "a key is not a plain word", "merge keys and complex keys are not supported")
			continue
		}
		if first, ok := seen[key.Value]; ok {
			report(key.Line, fmt.Sprintf("key %q is here twice", key.Value), fmt.Sprintf("it is on line %d already", first))
			continue
		}
		seen[key.Value] = key.Line
		read, ok := fields[key.Value]
		if !ok {
			report(key.Line, fmt.Sprintf("unknown key %q", key.Value), knownKeys(key.Value, fields))
			continue
		}
		read(value)
	}
	return true
}

// Sequence reads each element of a sequence.
func Sequence(node *yaml.Node, report Report, each func(*yaml.Node)) bool {
	if !plain(node, report) {
		return false
	}
	if node.Kind != yaml.SequenceNode {
		report(node.Line, "expected a list, got "+kindOf(node), "write a list: [a, b], or - a on lines of its own")
		return false
	}
	for _, element := range node.Content {
		each(element)
	}
	return true
}

// Text is a string with its place.
type Text struct {
	Value string
	Line  int
}

// String reads a text that is not empty.
func String(node *yaml.Node, report Report) Text {
	if scalar(node, report, "text") && node.ShortTag() != "!!str" {
		report(node.Line, fmt.Sprintf("expected text, got %s", node.Value), fmt.Sprintf("quote it: %q", node.Value))
		return Text{Line: node.Line}
	}
	if node.Kind == yaml.ScalarNode && node.Value == "" {
		report(node.Line, "the text is empty", "write something, or leave the key out")
	}
	return Text{node.Value, node.Line}
}

// Strings reads a list of texts.
func Strings(node *yaml.Node, report Report) []Text {
	var texts []Text
	Sequence(node, report, func(n *yaml.Node) {
		if t := String(n, report); t.Value != "" {
			texts = append(texts, t)
		}
	})
	return texts
}

// Bool reads true or false.
func Bool(node *yaml.Node, report Report) bool {
	if !scalar(node, report, "true or false") {
		return false
	}
	if node.ShortTag() != "!!bool" {
		report(node.Line, fmt.Sprintf("expected true or false, got %q", node.Value), "write true or false, without quotes")
	}
	return strings.EqualFold(node.Value, "true")
}

// Int reads an integer.
func Int(node *yaml.Node, report Report) int {
	if !scalar(node, report, "a number") {
		return 0
	}
	n, err := strconv.Atoi(node.Value)
	if err != nil || node.ShortTag() != "!!int" {
		report(node.Line, fmt.Sprintf("expected a whole number, got %q", node.Value), "write digits, without quotes")
	}
	return n
}

// Duration reads a positive number of whole seconds, written as 15m or 1h30m.
func Duration(node *yaml.Node, report Report) time.Duration {
	if !scalar(node, report, "a duration") {
		return 0
	}
	d, err := time.ParseDuration(node.Value)
	if err != nil || d <= 0 || d%time.Second != 0 {
		report(node.Line, fmt.Sprintf("expected a duration of whole seconds, got %q", node.Value), "write it as 30s, 15m or 1h30m")
		return 0
	}
	return d
}

// Date reads a day.
func Date(node *yaml.Node, report Report) string {
	if !scalar(node, report, "a date") {
		return ""
	}
	if _, err := time.Parse(time.DateOnly, node.Value); err != nil {
		report(node.Line, fmt.Sprintf("expected a date, got %q", node.Value), "write it as 2027-01-31")
	}
	return node.Value
}

// Time reads an instant.
func Time(node *yaml.Node, report Report) time.Time {
	if !scalar(node, report, "a time") {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, node.Value)
	if err != nil {
		report(node.Line, fmt.Sprintf("expected a time, got %q", node.Value), "write it as 2027-01-31T12:00:00Z")
	}
	return t
}

// Any reads a value of any shape, as JSON would hold it: string, bool, int64, float64, []any and
// map[string]any. Null is refused: a condition could not tell it from what is missing.
func Any(node *yaml.Node, report Report) any {
	if !plain(node, report) {
		return nil
	}
	switch node.Kind {
	case yaml.MappingNode:
		return AnyMapping(node, report)
	case yaml.SequenceNode:
		list := make([]any, 0, len(node.Content))
		for _, n := range node.Content {
			list = append(list, Any(n, report))
		}
		return list
	default: // a scalar: plain has refused all else
	}
	switch node.ShortTag() {
	case "!!str", "!!timestamp":
		return node.Value
	case "!!bool":
		return strings.EqualFold(node.Value, "true")
	case "!!int":
		if n, err := strconv.ParseInt(node.Value, 0, 64); err == nil {
			return n
		}
	case "!!float":
		if f, err := strconv.ParseFloat(node.Value, 64); err == nil {
			return f
		}
	}
	report(node.Line, fmt.Sprintf("a value %q of type %s is not supported", node.Value, node.ShortTag()), "use text, numbers, true, false, lists and mappings")
	return nil
}

// AnyMapping reads a mapping with keys and values of any kind.
func AnyMapping(node *yaml.Node, report Report) map[string]any {
	values := map[string]any{}
	fields := Fields{}
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i].Value
			fields[key] = func(n *yaml.Node) { values[key] = Any(n, report) }
		}
	}
	Mapping(node, report, fields)
	return values
}

func scalar(node *yaml.Node, report Report, want string) bool {
	if !plain(node, report) {
		return false
	}
	if node.Kind != yaml.ScalarNode {
		report(node.Line, "expected "+want+", got "+kindOf(node), "write the value on the line of its key")
		return false
	}
	return true
}

// plain refuses anchors and aliases: a rule must be readable where it stands.
func plain(node *yaml.Node, report Report) bool {
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		report(node.Line, "anchors and aliases are not supported", "write the value out where it is used")
		return false
	}
	return true
}

func kindOf(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "keys and values"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case node.ShortTag() == "!!null":
		return "nothing"
	}
	return fmt.Sprintf("%q", node.Value)
}

// knownKeys says what was probably meant.
func knownKeys(key string, fields Fields) string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := Nearest(key, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "known keys here: " + strings.Join(names, ", ")
}

// Nearest is the name that a misspelt word probably stands for, or "".
func Nearest(word string, names []string) string {
	best, least := "", 1+max(1, len(word)/3)
	for _, name := range names {
		if d := distance(word, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is the number of edits from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		above := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := above
			if a[i] != b[j] {
				cost++
			}
			above = row[j+1]
			row[j+1] = min(cost, above+1, row[j]+1)
		}
	}
	return row[len(b)]
}
