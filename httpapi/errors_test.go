package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
)

// The one table: each kind of error, and how it looks on the wire.
func TestErrors(t *testing.T) {
	s := serve(t, options{})
	table := map[string]struct {
		err    error
		status int
		code   string
	}{
		"ErrRequest":      {broker.ErrRequest, 400, "invalid_request"},
		"ErrClient":       {broker.ErrClient, 401, "invalid_client"},
		"ErrSubjectToken": {broker.ErrSubjectToken, 400, "invalid_request"},
		"ErrActorToken":   {broker.ErrActorToken, 400, "invalid_request"},
		"ErrTokenType":    {broker.ErrTokenType, 400, "invalid_request"},
		"ErrTarget":       {broker.ErrTarget, 400, "invalid_target"},
		"ErrScope":        {broker.ErrScope, 400, "invalid_scope"},
		"ErrUnauthorized": {broker.ErrUnauthorized, 401, "invalid_token"},
		"ErrForbidden":    {broker.ErrForbidden, 403, "insufficient_scope"},
		"ErrNotParty":     {broker.ErrNotParty, 400, "unauthorized_client"},
		"ErrNotFound":     {broker.ErrNotFound, 404, "not_found"},
		"ErrUnavailable":  {broker.ErrUnavailable, 503, "temporarily_unavailable"},
		"ErrRateLimited":  {broker.ErrRateLimited, 429, "slow_down"},
		"ErrAWS":          {broker.ErrAWS, 500, "server_error"},
	}
	for _, name := range sentinels(t) {
		if _, ok := table[name]; !ok {
			t.Errorf("broker.%s is not in this table", name)
		}
	}
	for name, row := range table {
		for how, err := range map[string]error{"itself": row.err, "wrapped": fmt.Errorf("doing: %w", row.err)} {
			w := httptest.NewRecorder()
			s.api.WriteError(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), err)
			var body wire.Error
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if w.Code != row.status || body.Code != row.code {
				t.Errorf("%s %s: %d %s, want %d %s", name, how, w.Code, body.Code, row.status, row.code)
			}
		}
	}
}

// sentinels are the names of broker's exported errors, as its source has them.
func sentinels(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../broker/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for _, name := range v.Names {
				if strings.HasPrefix(name.Name, "Err") {
					out = append(out, name.Name)
				}
			}
		}
		return true
	})
	if len(out) < 10 {
		t.Fatalf("only %v", out)
	}
	return out
}

func TestUnknownErrorsSayNothing(t *testing.T) {
	s := serve(t, options{})
	w := httptest.NewRecorder()
	s.api.WriteError(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), errors.New("open /var/lib/writ: secret"))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	// A cause is for the log alone.
	w = httptest.NewRecorder()
	s.api.WriteError(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), &broker.UnavailableError{
		RetryAfter: 1500 * time.Millisecond, Detail: "try again", Cause: errors.New("secret"),
	})
	if w.Code != 503 || strings.Contains(w.Body.String(), "secret") || w.Header().Get("Retry-After") != "2" {
		t.Errorf("%d %s %q", w.Code, w.Body, w.Header().Get("Retry-After"))
	}
	if !strings.Contains(s.log.String(), "secret") {
		t.Error("the log does not say why")
	}
}
