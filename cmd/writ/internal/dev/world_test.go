package dev_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

func start(t *testing.T, cfg dev.Config) *dev.World {
	t.Helper()
	w, err := dev.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// exchange asks for the agent's scope and returns the status and the answer.
func exchange(t *testing.T, w *dev.World, scope string) (int, string) {
	t.Helper()
	s, err := w.Sample(t.Context(), dev.SampleAgent)
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{
		"grant_type":    {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token": {s.Token}, "subject_token_type": {s.TokenType}, "scope": {scope},
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.Issuer()+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestSamplesAreShapedLikeThePlatforms(t *testing.T) {
	w := start(t, dev.Config{})
	about, err := w.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		id     string
		header string // without the kid
		claims []string
	}{
		dev.SampleAgent: {"k8s:prod:agents:analyst", `{"alg":"RS256"}`,
			[]string{"aud", "exp", "iat", "iss", "jti", "kubernetes.io", "nbf", "sub"}},
		dev.SampleUser: {"user:1b4e28ba", `{"alg":"ES256","typ":"JWT"}`,
			[]string{"amr", "aud", "auth_time", "email", "email_verified", "exp", "groups", "iat", "iss", "jti", "name", "sub"}},
	} {
		s := about.Samples[name]
		if s.ID != want.id {
			t.Errorf("%s is %q", name, s.ID)
		}
		header, claims := decode(t, s.Token)
		delete(header, "kid")
		if got, _ := json.Marshal(header); string(got) != want.header {
			t.Errorf("the header of %s is %s", name, got)
		}
		for _, c := range want.claims {
			if claims[c] == nil {
				t.Errorf("the token of %s has no claim %s", name, c)
			}
		}
		if len(claims) != len(want.claims) {
			t.Errorf("the token of %s has %d claims: %v", name, len(claims), claims)
		}
		if left := time.Until(time.Unix(int64(claims["exp"].(float64)), 0)); left < 10*time.Minute {
			t.Errorf("the token of %s lives for %v", name, left)
		}
		kept, err := os.ReadFile(s.TokenFile)
		if err != nil {
			t.Fatal(err)
		}
		if _, of := decode(t, string(kept)); of["sub"] != claims["sub"] || of["jti"] == claims["jti"] {
			t.Errorf("the file of %s holds %v", name, of)
		}
	}
	for name, s := range about.Samples {
		if s.Audience != "" && s.Scope == "" {
			t.Errorf("%s has an audience and no scope", name)
		}
	}
}

func decode(t *testing.T, raw string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no compact JWS", raw)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// What is on disk is its owner's alone: tokens and keys are among it.
func TestOthersCanReadNothing(t *testing.T) {
	w := start(t, dev.Config{DataDir: filepath.Join(t.TempDir(), "data")})
	err := filepath.WalkDir(w.DataDir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestThePolicyCanBeEdited(t *testing.T) {
	w := start(t, dev.Config{})
	const scope = "warehouse:read:sales/eu/orders"
	if status, body := exchange(t, w, scope); status != http.StatusOK {
		t.Fatalf("before: %d %s", status, body)
	}
	deny := "kind: denies\ndenies:\n  - {name: closed, owner: me, scopes: [\"warehouse:*:sales/eu/**\"], when: \"true\"}\n"
	tests := filepath.Join(w.BundleDir(), "tests.yaml")
	if err := os.Remove(tests); err != nil { // its cases say that this is allowed
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.BundleDir(), "closed.yaml"), []byte(deny), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		status, body := exchange(t, w, scope)
		if status == http.StatusBadRequest && strings.Contains(body, "invalid_scope") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute: %d %s", status, body)
		}
	}
}

func TestADataDirectoryServesAgain(t *testing.T) {
	dir := t.TempDir()
	first, err := dev.Start(t.Context(), dev.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	edited := filepath.Join(first.BundleDir(), "mine.yaml")
	if err := os.WriteFile(edited, []byte("kind: tests\ncases: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, dev.Config{DataDir: dir})
	if status, body := exchange(t, second, "warehouse:read:sales/eu/orders"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	if _, err := os.Stat(edited); err != nil {
		t.Errorf("the edited bundle is gone: %v", err)
	}
}

func TestATemporaryDirectoryIsRemoved(t *testing.T) {
	w, err := dev.Start(t.Context(), dev.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(w.DataDir()); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", w.DataDir(), err)
	}
}

func TestStartRefuses(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		cfg  dev.Config
		want string
	}{
		"an address that others reach": {dev.Config{Listen: "0.0.0.0:0"}, "not loopback"},
		"a port that is taken":         {dev.Config{Listen: taken.Addr().String()}, "address already in use"},
		"no address":                   {dev.Config{Listen: "nowhere"}, "listening on nowhere"},
		"a file as data directory":     {dev.Config{DataDir: file}, "making data directory"},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := dev.Start(t.Context(), row.cfg)
			if err == nil {
				t.Fatal("started", w.Close())
			}
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
