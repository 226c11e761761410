package awsagent_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/client/awsagent"
	"github.com/writbroker/writ/httpapi/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var discard = slog.New(slog.DiscardHandler)

const secret = "a-token-of-enough-characters"

// start runs an agent until the test ends.
func start(t *testing.T, fetch awsagent.Fetch) *awsagent.Agent {
	t.Helper()
	a, err := awsagent.New(t.Context(), awsagent.Config{Fetch: fetch, Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a
}

type reply struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, method, url string, change func(*http.Request)) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", secret)
	if change != nil {
		change(req)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}

func TestContainerProtocol(t *testing.T) {
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	a := start(t, func(context.Context) (*client.AWSCredentials, error) {
		return &client.AWSCredentials{AccessKeyID: "ASIA1", SecretAccessKey: "sek", SessionToken: "ses", Expiration: end, Expiry: end}, nil
	})
	got := get(t, http.MethodGet, a.URL(), nil)
	var c wire.AWSCredentials
	if err := json.Unmarshal([]byte(got.body), &c); err != nil || got.status != http.StatusOK || got.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%+v: %v", got, err)
	}
	if want := (wire.AWSCredentials{AccessKeyID: "ASIA1", SecretAccessKey: "sek", Token: "ses", Expiration: end}); c != want {
		t.Errorf("got %+v", c)
	}
	for name, row := range map[string]struct {
		method, path string
		change       func(*http.Request)
		status       int
	}{
		"after Bearer":            {change: func(r *http.Request) { r.Header.Set("Authorization", "bearer "+secret) }, status: 200},
		"by name":                 {change: func(r *http.Request) { r.Host = "localhost:" + r.URL.Port() }, status: 200},
		"no token":                {change: func(r *http.Request) { r.Header.Del("Authorization") }, status: 401},
		"another token":           {change: func(r *http.Request) { r.Header.Set("Authorization", secret+"x") }, status: 401},
		"an empty token":          {change: func(r *http.Request) { r.Header.Set("Authorization", "") }, status: 401},
		"two tokens":              {change: func(r *http.Request) { r.Header.Add("Authorization", secret) }, status: 401},
		"a name that leads here":  {change: func(r *http.Request) { r.Host = "rebound.example:" + r.URL.Port() }, status: 403},
		"another port":            {change: func(r *http.Request) { r.Host = "127.0.0.1:1" }, status: 403},
		"no port":                 {change: func(r *http.Request) { r.Host = "127.0.0.1" }, status: 403},
		"another path":            {path: "/", status: 404},
		"scopes that it ignores":  {path: awsagent.Path + "?scope=lake:read:**", status: 404},
		"what changes something":  {method: http.MethodPost, status: 405},
		"what would be discarded": {method: http.MethodHead, status: 405},
	} {
		t.Run(name, func(t *testing.T) {
			url := a.URL()
			if row.path != "" {
				url = strings.TrimSuffix(url, awsagent.Path) + row.path
			}
			if row.method == "" {
				row.method = http.MethodGet
			}
			got := get(t, row.method, url, row.change)
			if got.status != row.status || (got.status != 200) == strings.Contains(got.body, "sek") {
				t.Errorf("%d %s", got.status, got.body)
			}
			if got.status == 200 || row.method == http.MethodHead {
				return
			}
			var e wire.AWSError
			if err := json.Unmarshal([]byte(got.body), &e); err != nil || e.Code == "" || e.Message == "" || strings.Contains(got.body, secret) {
				t.Errorf("%s: %v", got.body, err)
			}
		})
	}
}

func TestAnswersThatSDKsActOn(t *testing.T) {
	for name, row := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"STS is down":        {&client.ResponseError{Status: 503, Body: wire.Error{Code: wire.ErrCodeTemporarilyUnavailable, Reason: "sts_unavailable"}}, 503, "sts_unavailable"},
		"policy refuses":     {&client.ResponseError{Status: 400, Body: wire.Error{Code: wire.ErrCodeInvalidScope, Description: "no"}}, 403, wire.ErrCodeInvalidScope},
		"the broker is gone": {errors.New("connection refused"), 503, awsagent.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, func(context.Context) (*client.AWSCredentials, error) { return nil, row.err })
			got := get(t, http.MethodGet, a.URL(), nil)
			var e wire.AWSError
			if err := json.Unmarshal([]byte(got.body), &e); err != nil || got.status != row.status || e.Code != row.code || got.header.Get("Retry-After") == "" {
				t.Errorf("%+v: %v", got, err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	fetch := func(context.Context) (*client.AWSCredentials, error) { return nil, io.EOF }
	for name, cfg := range map[string]awsagent.Config{
		"all interfaces":        {Fetch: fetch, Token: secret, Listen: "0.0.0.0:0"},
		"no address":            {Fetch: fetch, Token: secret, Listen: ":0"},
		"a name":                {Fetch: fetch, Token: secret, Listen: "localhost:0"},
		"another machine's":     {Fetch: fetch, Token: secret, Listen: "192.0.2.1:80"},
		"a token to be guessed": {Fetch: fetch, Token: "short"},
		"no token":              {Fetch: fetch},
		"nothing to fetch with": {Token: secret},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := awsagent.New(t.Context(), cfg)
			if err == nil {
				t.Error(a.URL(), a.Close())
			}
			if cfg.Listen != "" && !errors.Is(err, awsagent.ErrNotLoopback) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	made, err := awsagent.TokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != made.Reveal() {
		t.Errorf("the file is not the token alone: %v", err)
	}
	if again, err := awsagent.TokenFile(path); err != nil || again != made {
		t.Errorf("another token: %v", err)
	}
	if made == awsagent.NewToken() {
		t.Error("two equal tokens")
	}
	for name, spoil := range map[string]func(string) error{
		"others may read it": func(p string) error { return os.Chmod(p, 0o640) },
		"it is empty":        func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"it has two lines":   func(p string) error { return os.WriteFile(p, []byte(secret+"\n"+secret), 0o600) },
		"it is a directory": func(p string) error {
			return errors.Join(os.Remove(p), os.Mkdir(p, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "token")
			if _, err := awsagent.TokenFile(path); err != nil {
				t.Fatal(err)
			}
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			if _, err := awsagent.TokenFile(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := awsagent.TokenFile(filepath.Join(t.TempDir(), "no", "token")); err == nil {
		t.Error("a file without a directory")
	}
}
