package leaks_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/internal/redistest"
)

// buffer is written to by many.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf.Bytes())
}

// profiles are all that package pprof would serve, with the labels of goroutines.
func profiles(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, p := range pprof.Profiles() {
		for _, detail := range []int{1, 2} {
			fmt.Fprintf(&out, "%s %d\n", p.Name(), detail)
			if err := p.WriteTo(&out, detail); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out.Bytes()
}

// files are those of a folder, but for what is left out.
func files(t *testing.T, dir string, without ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		for _, w := range without {
			if name == w && entry.IsDir() {
				return fs.SkipDir
			}
			if name == w {
				return nil
			}
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&out, "\n%s\n%s", name, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// page is what an address serves.
func page(t *testing.T, address string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || len(body) == 0 {
		t.Fatalf("%s answered %d, %v", address, resp.StatusCode, err)
	}
	return body
}

// contents is everything in Redis, key by key, and what it says of itself and of its clients.
func contents(t *testing.T, n *redistest.Node) []byte {
	t.Helper()
	var out bytes.Buffer
	names, err := n.Client().Keys(t.Context(), "*").Result()
	if err != nil || len(names) == 0 {
		t.Fatalf("redis has %d keys, %v", len(names), err)
	}
	for _, name := range names {
		fmt.Fprintf(&out, "\n%s\n", name)
		if err := value(t.Context(), &out, n.Client(), name); err != nil {
			t.Fatalf("reading %s: %v", name, err)
		}
	}
	for _, command := range [][]any{{"SLOWLOG", "GET", 1000}, {"INFO", "all"}, {"CLIENT", "LIST"}, {"ACL", "LIST"}, {"ACL", "LOG"}} {
		fmt.Fprintf(&out, "\n%v\n%v", command, n.Do(t, command...))
	}
	return out.Bytes()
}

func value(ctx context.Context, out io.Writer, c *goredis.Client, name string) error {
	kind, err := c.Type(ctx, name).Result()
	if err != nil {
		return err
	}
	var v any
	switch kind {
	case "string":
		v, err = c.Get(ctx, name).Result()
	case "hash":
		v, err = c.HGetAll(ctx, name).Result()
	case "zset":
		v, err = c.ZRange(ctx, name, 0, -1).Result()
	case "stream":
		v, err = c.XRange(ctx, name, "-", "+").Result()
	case "list":
		v, err = c.LRange(ctx, name, 0, -1).Result()
	case "set":
		v, err = c.SMembers(ctx, name).Result()
	case "none": // it has expired
	default:
		err = fmt.Errorf("it is a %s", kind)
	}
	fmt.Fprintf(out, "%v", v)
	return err
}

// recorder sees all that is sent and answered. Of answers that are to hold a token, only that.
type recorder struct {
	mu      sync.Mutex
	tokens  map[string]bool // guarded by mu
	answers bytes.Buffer    // guarded by mu
	refused int             // guarded by mu
}

func newRecorder() *recorder { return &recorder{tokens: map[string]bool{}} }

// RoundTrip is http.RoundTripper's.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if raw, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
		r.token(raw)
	}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		if form, err := url.ParseQuery(string(body)); err == nil {
			for _, name := range []string{"subject_token", "actor_token", "client_assertion", "token"} {
				r.token(form.Get(name))
			}
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	r.mu.Lock()
	defer r.mu.Unlock()
	if resp.StatusCode >= http.StatusBadRequest {
		r.refused++
	}
	if resp.StatusCode == http.StatusOK && req.URL.Path == "/token" {
		r.findLocked(body)
	} else {
		fmt.Fprintf(&r.answers, "\n%d %v\n%s", resp.StatusCode, resp.Header, body)
	}
	return resp, err
}

func (r *recorder) findLocked(data []byte) {
	for _, raw := range jws.FindAll(data, -1) {
		r.tokens[string(raw)] = true
	}
}

func (r *recorder) token(raw string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[raw] = true
}
