package policy

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/writbroker/writ/policy/internal/document"
)

// Limits of a bundle's files.
const (
	maxFileBytes   = 16 << 20
	maxBundleBytes = 64 << 20
)

// reader collects the rules and the faults of all files.
type reader struct {
	source source
	faults []Fault
	file   string
	total  int // bytes read
}

// Walk visits the files that Load reads, by name and in its order: the YAML files of fsys. Names
// that begin with a dot are left out (a mounted ConfigMap has such); a symbolic link to a file is
// visited.
func Walk(fsys fs.FS, visit func(name string) error) error {
	return fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch base := path.Base(name); {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(base, "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir() || path.Ext(base) != ".yaml" && path.Ext(base) != ".yml":
			return nil
		}
		return visit(name)
	})
}

// readAll reads every file that Walk finds.
func (r *reader) readAll(fsys fs.FS) {
	err := Walk(fsys, func(name string) error {
		r.file = name
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			r.report(0, "cannot be read: "+err.Error(), "check that it exists and may be read")
			return nil //nolint:nilerr // the fault is reported with all others
		}
		r.readFile(name, data)
		return nil
	})
	if err != nil {
		r.file = "."
		r.report(0, "the bundle cannot be read: "+err.Error(), "check that the directory exists and may be read")
	}
}

func (r *reader) readFile(name string, data []byte) {
	r.file = name
	if r.total += len(data); len(data) > maxFileBytes || r.total > maxBundleBytes {
		r.report(0, "the bundle is too large", fmt.Sprintf("a file has at most %d bytes, all files %d", maxFileBytes, maxBundleBytes))
		return
	}
	for _, node := range document.Split(data, r.report) {
		r.document(node)
	}
}

func (r *reader) report(line int, message, hint string) {
	r.faults = append(r.faults, Fault{File: r.file, Line: line, Message: message, Hint: hint})
}

// lists maps each kind of document to the key of its list and what reads an element.
func (r *reader) lists() map[string]struct {
	key  string
	read func(*yaml.Node)
} {
	type list = struct {
		key  string
		read func(*yaml.Node)
	}
	return map[string]list{
		"catalog":     {"tools", r.tool},
		"roles":       {"roles", r.role},
		"bindings":    {"bindings", r.binding},
		"profiles":    {"profiles", r.profile},
		"denies":      {"denies", r.deny},
		"delegations": {"delegations", r.delegation},
		"inventory":   {"principals", r.principal},
		"tests":       {"cases", r.testCase},
	}
}

// document reads one document by its kind.
func (r *reader) document(node *yaml.Node) {
	lists := r.lists()
	names := make([]string, 0, len(lists))
	for name := range lists {
		names = append(names, name)
	}
	slices.Sort(names)
	kind := ""
	if node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == "kind" {
				kind = node.Content[i+1].Value
			}
		}
	}
	list, ok := lists[kind]
	if !ok {
		message, hint := fmt.Sprintf("unknown kind %q", kind), "kinds: "+strings.Join(names, ", ")
		if kind == "" {
			message = "the document has no kind"
		} else if near := document.Nearest(kind, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		r.report(node.Line, message, hint)
		return
	}
	present := false
	document.Mapping(node, r.report, document.Fields{
		"kind": func(*yaml.Node) {},
		list.key: func(n *yaml.Node) {
			present = true
			document.Sequence(n, r.report, list.read)
		},
	})
	if !present {
		r.report(node.Line, fmt.Sprintf("the document of kind %s has no %q", kind, list.key), fmt.Sprintf("add %s: with a list", list.key))
	}
}

// rule reads one rule: the keys that all rules have and those of fields. Faults found in it are
// labelled with its name, wherever in it the name stands.
func (r *reader) rule(node *yaml.Node, m *meta, fields document.Fields) {
	m.file, m.line = r.file, node.Line
	start := len(r.faults)
	named := m.kind != ruleInventory // an entry of the inventory goes by its match
	if named {
		fields["name"] = func(n *yaml.Node) { m.name = document.String(n, r.report).Value }
	}
	fields["description"] = func(n *yaml.Node) { m.description = document.String(n, r.report).Value }
	fields["owner"] = func(n *yaml.Node) { m.owner = document.String(n, r.report).Value }
	fields["review_by"] = func(n *yaml.Node) { m.reviewBy = document.Date(n, r.report) }
	if document.Mapping(node, r.report, fields) && named && !validName(m.name) {
		message := fmt.Sprintf("the name %q is not valid", m.name)
		if m.name == "" {
			message = "the rule has no name"
		}
		r.report(node.Line, message, "give it a name of letters, digits, '.', '_', '-' and '/', at most 128; decisions are explained by it")
	}
	for i := range r.faults[start:] {
		if f := &r.faults[start+i]; f.Rule == "" {
			f.Rule = m.label()
		}
	}
}

func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._-/", rune(c))) {
			return false
		}
	}
	return name != "" && len(name) <= 128
}

func (r *reader) strings(to *[]text) func(*yaml.Node) {
	return func(n *yaml.Node) { *to = document.Strings(n, r.report) }
}

func (r *reader) string(to *text) func(*yaml.Node) {
	return func(n *yaml.Node) { *to = document.String(n, r.report) }
}
