package iamtest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// fault is an error as IAM answers it.
type fault struct {
	Status        int
	Code, Message string
}

func noRole(name string) *fault {
	return &fault{http.StatusNotFound, "NoSuchEntity", "The role with name " + name + " cannot be found."}
}

func noPolicy(name string) *fault {
	return &fault{http.StatusNotFound, "NoSuchEntity", "The role policy with name " + name + " cannot be found."}
}

// result is the inside of an answer.
type result struct {
	Role           *roleText `xml:"Role"`
	RoleName       string    `xml:"RoleName,omitempty"`
	PolicyName     string    `xml:"PolicyName,omitempty"`
	PolicyDocument string    `xml:"PolicyDocument,omitempty"`
	PolicyNames    *names    `xml:"PolicyNames"`
	IsTruncated    *bool     `xml:"IsTruncated"`
	Marker         string    `xml:"Marker,omitempty"`
}

type roleText struct {
	Path       string
	RoleName   string
	RoleID     string `xml:"RoleId"`
	Arn        string
	CreateDate string
}

type names struct {
	Member []string `xml:"member"`
}

// pageSize is small, so that lists have pages.
const pageSize = 2

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuse(w, &fault{http.StatusBadRequest, "MalformedInput", "the body is no form"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := credential.FindStringSubmatch(r.Header.Get("Authorization"))
	switch {
	case s.down:
		refuse(w, &fault{http.StatusServiceUnavailable, "ServiceUnavailable", "not now"})
	case key == nil:
		refuse(w, &fault{http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token"})
	case len(s.opt.Keys) > 0 && !slices.Contains(s.opt.Keys, key[1]):
		refuse(w, &fault{http.StatusForbidden, "AccessDenied", "User is not authorized to perform: iam:" + r.Form.Get("Action")})
	case rand.Float64() < s.opt.Throttle:
		refuse(w, &fault{http.StatusBadRequest, "Throttling", "Rate exceeded"})
	case rand.Float64() < s.opt.Fail:
		refuse(w, &fault{http.StatusInternalServerError, "ServiceFailure", "it failed"})
	default:
		s.carryOut(w, r.Form)
	}
}

// carryOut is guarded by mu.
func (s *Server) carryOut(w http.ResponseWriter, form url.Values) {
	action, name := form.Get("Action"), form.Get("RoleName")
	target := s.roles[name]
	if target == nil {
		refuse(w, noRole(name))
		return
	}
	out, bad := s.act(action, target, form)
	if bad != nil {
		refuse(w, bad)
		return
	}
	s.calls[action]++
	if rand.Float64() < s.opt.Lose {
		refuse(w, &fault{http.StatusInternalServerError, "ServiceFailure", "it failed, or seems to"})
		return
	}
	answer(w, action, out)
}

func (s *Server) act(action string, target *role, form url.Values) (*result, *fault) {
	name, policy := form.Get("RoleName"), form.Get("PolicyName")
	switch action {
	case "GetRole":
		return &result{Role: &roleText{"/", name, "AROAEXAMPLEROLE", target.arn, "2026-01-01T00:00:00Z"}}, nil
	case "ListRolePolicies":
		return s.list(target, form.Get("Marker")), nil
	case "GetRolePolicy":
		document, ok := s.seen(target)[policy]
		if !ok {
			return nil, noPolicy(policy)
		}
		// RFC 3986, as IAM: a space is %20.
		encoded := strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
		return &result{RoleName: name, PolicyName: policy, PolicyDocument: encoded}, nil
	case "PutRolePolicy":
		return nil, s.put(target, policy, form.Get("PolicyDocument"))
	case "DeleteRolePolicy":
		if _, ok := target.now()[policy]; !ok {
			return nil, noPolicy(policy)
		}
		s.set(target, policy, "")
		return nil, nil
	}
	return nil, &fault{http.StatusBadRequest, "InvalidAction", "Could not find operation " + action}
}

func (s *Server) list(target *role, marker string) *result {
	all := slices.Sorted(maps.Keys(s.seen(target)))
	all = slices.DeleteFunc(all, func(name string) bool { return name <= marker })
	more := len(all) > pageSize
	out := &result{IsTruncated: &more}
	if more {
		all = all[:pageSize]
		out.Marker = all[pageSize-1]
	}
	out.PolicyNames = &names{all}
	return out
}

func (s *Server) put(target *role, policy, document string) *fault {
	if !policyName.MatchString(policy) {
		return &fault{http.StatusBadRequest, "ValidationError", "policyName does not match [\\w+=,.@-]+"}
	}
	var d struct{ Version, Statement any }
	if json.Unmarshal([]byte(document), &d) != nil || d.Version != "2012-10-17" || d.Statement == nil {
		return &fault{http.StatusBadRequest, "MalformedPolicyDocument", "Syntax errors in policy."}
	}
	size := sizeOf(document)
	for name, other := range target.now() {
		if name != policy {
			size += sizeOf(other)
		}
	}
	if size > MaxInlineSize {
		return &fault{http.StatusConflict, "LimitExceeded", fmt.Sprintf("Maximum policy size of %d bytes exceeded for role", MaxInlineSize)}
	}
	s.set(target, policy, document)
	return nil
}

func sizeOf(document string) int {
	return len([]rune(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, document)))
}

const namespace = "https://iam.amazonaws.com/doc/2010-05-08/"

func answer(w http.ResponseWriter, action string, out *result) {
	type metadata struct {
		RequestID string `xml:"RequestId"`
	}
	if out == nil {
		write(w, http.StatusOK, action+"Response", struct {
			Space    string   `xml:"xmlns,attr"`
			Metadata metadata `xml:"ResponseMetadata"`
		}{namespace, metadata{"r-1"}})
		return
	}
	inner, err := xml.Marshal(out)
	if err != nil {
		refuse(w, &fault{http.StatusInternalServerError, "ServiceFailure", err.Error()})
		return
	}
	text := strings.TrimSuffix(strings.TrimPrefix(string(inner), "<result>"), "</result>")
	write(w, http.StatusOK, action+"Response", struct {
		Space  string `xml:"xmlns,attr"`
		Result string `xml:",innerxml"`
	}{namespace, "<" + action + "Result>" + text + "</" + action + "Result><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>"})
}

func refuse(w http.ResponseWriter, f *fault) {
	type inner struct{ Type, Code, Message string }
	kind := "Sender"
	if f.Status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	write(w, f.Status, "ErrorResponse", struct {
		Space     string `xml:"xmlns,attr"`
		Error     inner
		RequestID string `xml:"RequestId"`
	}{namespace, inner{kind, f.Code, f.Message}, "r-1"})
}

func write(w http.ResponseWriter, status int, name string, body any) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	// The recorder or connection takes it, or its reader has gone.
	_ = xml.NewEncoder(w).EncodeElement(body, xml.StartElement{Name: xml.Name{Local: name}})
}
