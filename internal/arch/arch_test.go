package arch_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/writbroker/writ"

// listed is what `go list` says of a package.
type listed struct {
	ImportPath    string
	Imports, Deps []string
}

func TestImportsFollowTheTree(t *testing.T) {
	look(t)
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Imports,Deps", module+"/...")
	command.Dir = "../.."
	var output, complaints bytes.Buffer
	command.Stdout, command.Stderr = &output, &complaints
	if err := command.Run(); err != nil {
		t.Fatalf("go list: %v\n%s", err, complaints.String())
	}
	var packages []listed
	for decoder := json.NewDecoder(&output); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if !slices.ContainsFunc(packages, func(p listed) bool { return p.ImportPath == module+"/scopes" }) {
		t.Fatalf("go list shows %d packages, and scopes is none of them", len(packages))
	}
	for _, fault := range faults(packages) {
		t.Error(fault)
	}
}

// look opens every folder of the module. What a child process reads does not
// count for the cache of test results, which would go on saying "ok" of a tree
// that has changed since.
func look(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".."
		if err == nil && entry.IsDir() && (hidden || entry.Name() == "node_modules" || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The order of the tree is checked like everything else.
func TestTreeIsInOrder(t *testing.T) {
	for i, h := range tree {
		for _, imported := range h.imports {
			above := slices.IndexFunc(tree[:i], func(h home) bool { return h.path == imported })
			if imported != "*" && above < 0 {
				t.Errorf("%s imports %s, which is not above it", h.path, imported)
			} else if imported != "*" && tree[above].adapter {
				t.Errorf("%s imports the adapter %s", h.path, imported)
			}
		}
	}
}

// A checker that finds nothing would pass as well.
func TestFaultsAreFound(t *testing.T) {
	for name, row := range map[string]struct {
		p    listed
		want string
	}{
		"an import downwards":                   {imports("policy", "broker"), "policy must not import broker"},
		"an import past the column":             {imports("console", "broker"), "console must not import broker"},
		"a pure package that imports one":       {imports("scopes", "token"), "scopes must not import token"},
		"an adapter that imports another":       {imports("store/redis", "store/bolt"), "store/redis must not import store/bolt"},
		"an adapter wired in the middle":        {imports("broker", "store/bolt"), "broker must not import store/bolt"},
		"config outside cmd":                    {imports("httpapi", "config"), "httpapi must not import config"},
		"the fetcher in a pure package":         {imports("identity", "identity/jwks"), "identity must not import identity/jwks"},
		"a leaf that imports its parent":        {imports("httpapi/wire", "httpapi"), "httpapi/wire must not import httpapi"},
		"a package below that imports more":     {imports("verifier/grpcverifier", "broker"), "verifier/grpcverifier must not import broker"},
		"a new package":                         {imports("util"), "util is not in the tree"},
		"a new package among the internal":      {imports("internal/helper"), "internal/helper is not in the tree"},
		"another command":                       {imports("cmd/other"), "cmd/other is not in the tree"},
		"the module's root":                     {listed{ImportPath: module}, "the root"},
		"a file in a pure package":              {listed{module + "/policy/internal/document", []string{"os"}, nil}, "policy/internal/document is pure and must not import os"},
		"a verifier with the policy's language": {listed{module + "/verifier", nil, []string{"cel.dev/cel-go/cel"}}, "verifier must not depend on cel.dev/cel-go/cel"},
		"a verifier with a cloud":               {listed{module + "/verifier", nil, []string{"github.com/aws/aws-sdk-go-v2/aws"}}, "verifier must not depend on github.com/aws"},
		"a client with a cloud":                 {listed{module + "/client", nil, []string{"github.com/aws/smithy-go"}}, "client must not depend on github.com/aws"},
		"a broker with a cloud":                 {listed{module + "/broker", nil, []string{"github.com/aws/aws-sdk-go-v2/service/sts"}}, "broker must not depend on github.com/aws"},
		"a verifier with a broker":              {listed{module + "/verifier", nil, []string{module + "/store"}}, "verifier must not depend on store"},
	} {
		t.Run(name, func(t *testing.T) {
			got := faults([]listed{row.p})
			if len(got) != 1 || !strings.Contains(got[0], row.want) {
				t.Errorf("got %q", got)
			}
		})
	}
	for name, p := range map[string]listed{
		"an import upwards":              imports("token", "scopes"),
		"what an import imports":         imports("policy", "token"),
		"a package below":                imports("policy", "policy/internal/document"),
		"a package below, the other way": imports("verifier/grpcverifier", "verifier"),
		"the wiring":                     imports("cmd/writ", "config", "store/bolt", "httpapi"),
		"below the wiring":               imports("cmd/writ/demo", "cmd/writ", "verifier"),
		"another module":                 {ImportPath: "example.com/other", Imports: []string{module + "/broker"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := faults([]listed{p}); len(got) != 0 {
				t.Errorf("got %q", got)
			}
		})
	}
}

func imports(path string, ours ...string) listed {
	p := listed{ImportPath: module + "/" + path}
	for _, imported := range ours {
		p.Imports = append(p.Imports, module+"/"+imported)
	}
	return p
}

// faults says what packages do that the tree does not allow.
func faults(packages []listed) []string {
	var found []string
	for _, p := range packages {
		path, ours := local(p.ImportPath)
		if !ours {
			continue
		}
		h, ok := homeOf(path)
		if !ok {
			found = append(found, fmt.Sprintf("%s is not in the tree: enter it in tree_test.go, at its place", cmp.Or(path, "the root")))
			continue
		}
		found = append(found, importFaults(path, h, p.Imports)...)
		found = append(found, dependencyFaults(path, h, p.Deps)...)
	}
	return found
}

func importFaults(path string, h home, imports []string) []string {
	var found []string
	for _, imported := range imports {
		if h.pure && slices.Contains(impure, imported) {
			found = append(found, fmt.Sprintf("%s is pure and must not import %s", path, imported))
		}
		name, ours := local(imported)
		if !ours {
			continue
		}
		if target, ok := homeOf(name); !ok || target.path != h.path && !reach(h)[target.path] {
			found = append(found, fmt.Sprintf("%s must not import %s", path, name))
		}
	}
	return found
}

// dependencyFaults holds the small ones to being small at every depth. What is
// ours below them is held by the imports of each package, but those may widen
// in a line of the tree above; here the answer is said once more.
func dependencyFaults(path string, h home, dependencies []string) []string {
	if len(h.forbids) == 0 {
		return nil
	}
	var found []string
	for _, dependency := range dependencies {
		name, ours := local(dependency)
		target, _ := homeOf(name)
		if ours && target.path != h.path && !reach(h)[target.path] ||
			slices.ContainsFunc(h.forbids, func(prefix string) bool { return strings.HasPrefix(dependency, prefix) }) {
			found = append(found, fmt.Sprintf("%s must not depend on %s", path, name))
		}
	}
	return found
}

// local is the path inside the module, and whether it is in there.
func local(importPath string) (string, bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// homeOf is the longest line of the tree that a path is at or below.
func homeOf(path string) (home, bool) {
	var longest home
	for _, h := range tree {
		if (path == h.path || strings.HasPrefix(path, h.path+"/")) && len(h.path) > len(longest.path) {
			longest = h
		}
	}
	return longest, longest.path != ""
}

// reach is what a line may import: its imports and theirs.
func reach(h home) map[string]bool {
	allowed := map[string]bool{}
	var add func(home)
	add = func(h home) {
		for i, above := range tree {
			if above.path == h.path {
				return
			}
			if slices.Contains(h.imports, "*") || slices.Contains(h.imports, above.path) {
				allowed[above.path] = true
				add(tree[i])
			}
		}
	}
	add(h)
	return allowed
}
