package vaulttest

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

const rootPolicy = "root"

// policy is the part of Vault's language that the broker's policy is written in.
type policy []rule

type rule struct {
	path         string // exact, or with * at its end
	capabilities []string
	parameters   map[string][]string // allowed_parameters; nil = any
}

var (
	pathBlock    = regexp.MustCompile(`(?s)path "([^"]+)" \{(.*?)\n\}`)
	capabilities = regexp.MustCompile(`capabilities = \[([^\]]*)\]`)
	allowed      = regexp.MustCompile(`allowed_parameters = \{([^}]*)\}`)
	parameter    = regexp.MustCompile(`"([^"]+)" = \[([^\]]*)\]`)
	quoted       = regexp.MustCompile(`"([^"]*)"`)
)

func parsePolicy(text string) (policy, error) {
	var out policy
	for _, block := range pathBlock.FindAllStringSubmatch(text, -1) {
		granted := capabilities.FindStringSubmatch(block[2])
		if granted == nil {
			return nil, errors.New("a path without capabilities")
		}
		r := rule{path: block[1], capabilities: texts(granted[1])}
		if list := allowed.FindStringSubmatch(block[2]); list != nil {
			r.parameters = map[string][]string{}
			for _, p := range parameter.FindAllStringSubmatch(list[1], -1) {
				r.parameters[p[1]] = texts(p[2])
			}
		}
		out = append(out, r)
	}
	if out == nil {
		return nil, errors.New("no path in the policy")
	}
	return out, nil
}

func texts(list string) []string {
	var out []string
	for _, m := range quoted.FindAllStringSubmatch(list, -1) {
		out = append(out, m[1])
	}
	return out
}

// allows says whether a token's policies permit a request.
func (s *Server) allows(entry *tokenEntry, r *request) bool {
	if slices.Contains(entry.policies, rootPolicy) {
		return true
	}
	need := s.capability(r)
	for _, name := range entry.policies {
		for _, rule := range s.policies[name] {
			if rule.matches(r.path) && slices.Contains(rule.capabilities, need) && rule.takes(r) {
				return true
			}
		}
	}
	return false
}

func (s *Server) capability(r *request) string {
	switch r.method {
	case http.MethodGet:
		return "read"
	case http.MethodDelete:
		return "delete"
	case "LIST":
		return "list"
	}
	mount, rest, _ := strings.Cut(r.path, "/")
	if e, ok := s.mounts[mount]; ok && !e.exists(rest) {
		return "create"
	}
	return "update"
}

func (r rule) matches(path string) bool {
	if prefix, ok := strings.CutSuffix(r.path, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return r.path == path
}

// takes holds a write to the parameters that the rule allows.
func (r rule) takes(in *request) bool {
	if r.parameters == nil || in.method != http.MethodPut {
		return true
	}
	for name, raw := range in.body {
		values, ok := r.parameters[name]
		var text string
		if !ok || json.Unmarshal(raw, &text) != nil || !slices.Contains(values, text) {
			return false
		}
	}
	return true
}
