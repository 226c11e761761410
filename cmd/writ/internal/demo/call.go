package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const maxAnswer = 4 << 20

// Exchange is one request and its answer as they are shown. Tokens are replaced by the
// claims that name them.
type Exchange struct {
	Method string  `json:"method"`
	URL    string  `json:"url"`
	Sent   []Field `json:"sent,omitempty"`
	Status int     `json:"status"`
	Got    []Field `json:"got,omitempty"`
	MS     float64 `json:"ms"`
}

// Field is a parameter, a header or a member of an answer.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// call is a request to be sent.
type call struct {
	method, url string
	bearer      string
	form        url.Values
	json        any
	tell        []string // dotted names of the members of the answer to show, besides those of every answer
}

// reply is an answer, read in full. members is nil if its body is no JSON object.
type reply struct {
	what    string // the request, for what is said of its answer
	status  int
	header  http.Header
	body    []byte
	members map[string]any
}

// send makes a call, once, and notes it for those who watch.
func (s *story) send(ctx context.Context, c call) (*reply, error) {
	req, err := c.request(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", c.method, req.URL.Path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s: reading the answer: %w", c.method, req.URL.Path, err)
	}
	r := &reply{what: c.method + " " + req.URL.Path, status: resp.StatusCode, header: resp.Header, body: body}
	if json.Unmarshal(body, &r.members) != nil {
		r.members = nil
	}
	s.exchanges = append(s.exchanges, Exchange{
		Method: c.method, URL: c.url, Sent: c.shown(), Status: r.status, Got: r.shown(c.tell), MS: since(began),
	})
	return r, nil
}

func (c call) request(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	contentType := ""
	switch {
	case c.form != nil:
		body, contentType = strings.NewReader(c.form.Encode()), "application/x-www-form-urlencoded"
	case c.json != nil:
		data, err := json.Marshal(c.json)
		if err != nil {
			return nil, fmt.Errorf("encoding request: %w", err)
		}
		body, contentType = bytes.NewReader(data), "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, c.method, c.url, body)
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	return req, nil
}

// secret are the parameters and members that hold tokens.
func secret(name string) bool {
	switch name {
	case "subject_token", "actor_token", "client_assertion", "token", "access_token":
		return true
	}
	return false
}

// shown is what was sent, for people.
func (c call) shown() []Field {
	var out []Field
	if c.bearer != "" {
		out = append(out, Field{"Authorization", "Bearer " + summary(c.bearer)})
	}
	for _, name := range []string{
		"grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type",
		"token", "scope", "task", "requested_ttl",
	} {
		if value := c.form.Get(name); value != "" {
			out = append(out, field(name, value))
		}
	}
	if c.json != nil {
		if data, err := json.Marshal(c.json); err == nil {
			out = append(out, Field{"body", string(data)})
		}
	}
	return out
}

func field(name, value string) Field {
	if secret(name) {
		value = summary(value)
	}
	return Field{name, value}
}

// telling are the members that are shown of every answer that has them.
func telling() []string {
	return []string{
		"access_token", "scope", "expires_in", "error", "error_description", "decision_id", "refused_scopes",
		"active", "resource", "for", "by", "task", "written",
	}
}

// shown is what of an answer is shown.
func (r *reply) shown(more []string) []Field {
	var out []Field
	for _, name := range slices.Concat(telling(), more) {
		if value, ok := r.member(name); ok {
			out = append(out, field(name, text(value)))
		}
	}
	if challenge := r.header.Get("WWW-Authenticate"); challenge != "" {
		out = append(out, Field{"WWW-Authenticate", challenge})
	}
	return out
}

// member finds a member by its dotted name.
func (r *reply) member(name string) (any, bool) {
	var at any = r.members
	for part := range strings.SplitSeq(name, ".") {
		object, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = object[part]; !ok {
			return nil, false
		}
	}
	return at, true
}

// text of a member: a string as it is, a list with spaces, all else as JSON.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = text(v[i])
		}
		return strings.Join(parts, " ")
	}
	data, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(data)
}
