package vaulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// Admin sets a Vault up, this package's or a real one, with a token that may.
type Admin struct {
	Address string
	Token   string
	HTTP    *http.Client
}

// Call makes one call and returns the whole answer. body nil reads.
func (a *Admin) Call(ctx context.Context, method, path string, body any, header ...string) (map[string]any, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.Address+"/v1/"+path, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", a.Token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := a.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	out := map[string]any{}
	if len(bytes.TrimSpace(text)) > 0 {
		err = json.Unmarshal(text, &out)
	}
	return out, err
}

// Write writes, or ends the test, and returns the answer's data.
func (a *Admin) Write(t testing.TB, path string, body any) map[string]any {
	t.Helper()
	return a.must(t, http.MethodPost, path, body)
}

// Read reads, or ends the test.
func (a *Admin) Read(t testing.TB, path string) map[string]any {
	t.Helper()
	return a.must(t, http.MethodGet, path, nil)
}

// Delete deletes, or ends the test.
func (a *Admin) Delete(t testing.TB, path string) {
	t.Helper()
	a.must(t, http.MethodDelete, path, nil)
}

func (a *Admin) must(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	out, err := a.Call(t.Context(), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := out["data"].(map[string]any)
	return data
}

// Wrapped writes and gets the answer's wrapping token.
func (a *Admin) Wrapped(t testing.TB, path string) string {
	t.Helper()
	out, err := a.Call(t.Context(), http.MethodPost, path, map[string]any{}, "X-Vault-Wrap-TTL", "60")
	if err != nil {
		t.Fatal(err)
	}
	info, _ := out["wrap_info"].(map[string]any)
	token, _ := info["token"].(string)
	if token == "" {
		t.Fatalf("%s was answered without a wrapping token", path)
	}
	return token
}

// NewToken makes a token with policies.
func (a *Admin) NewToken(t testing.TB, ttl time.Duration, policies ...string) string {
	t.Helper()
	out, err := a.Call(t.Context(), http.MethodPost, "auth/token/create", map[string]any{
		"policies": policies, "ttl": fmt.Sprintf("%ds", int(ttl/time.Second)), "no_default_policy": true, "no_parent": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	auth, _ := out["auth"].(map[string]any)
	token, _ := auth["client_token"].(string)
	return token
}
