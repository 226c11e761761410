package leaks_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/internal/redistest"
)

// encodings are the forms in which a secret could come to stand somewhere. Those of binary secrets
// are text, too: as they are they would not survive a log in JSON.
func encodings(t *testing.T, value []byte, printable bool) map[string]string {
	t.Helper()
	out := map[string]string{"hex": hex.EncodeToString(value), "upper-case hex": strings.ToUpper(hex.EncodeToString(value))}
	if printable {
		text, err := json.Marshal(string(value))
		must(t, err)
		out["as it is"], out["in JSON"], out["in a form"], out["in a path"] = string(value), string(text), url.QueryEscape(string(value)), url.PathEscape(string(value))
	}
	for before := range 4 {
		for after := range 4 {
			around := append(append(bytes.Repeat([]byte{'<'}, before), value...), bytes.Repeat([]byte{'>'}, after)...)
			for name, e := range map[string]*base64.Encoding{
				"std": base64.StdEncoding, "raw std": base64.RawStdEncoding, "url": base64.URLEncoding, "raw url": base64.RawURLEncoding,
			} {
				out[name+" base64 "+strings.Repeat("<", before)+strings.Repeat(">", after)] = e.EncodeToString(around)
			}
		}
	}
	return out
}

// TestTheSearchFindsEachEncoding: in whatever form a secret is written, it is found.
func TestTheSearchFindsEachEncoding(t *testing.T) {
	binary := make([]byte, 32)
	_, _ = rand.Read(binary)
	for _, s := range []secret{{"binary", binary}, {"text", []byte(redisPassword)}, {"more text", []byte(clientPassword)}} {
		for name, text := range encodings(t, s.value, s.name != "binary") {
			place := map[string][]byte{"here": []byte("some text, " + text + ", and more")}
			if len(search(place, []secret{s})) == 0 {
				t.Errorf("%s is not found: %s", s.name, name)
			}
			other := bytes.Clone(s.value)
			other[len(other)/2] ^= 1
			if found := search(place, []secret{{"another", other}}); len(found) > 0 {
				t.Errorf("another secret is found: %v", found)
			}
		}
	}
	raw := "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZ2VudCJ9." + strings.Repeat("aB3_", 20)
	if len(search(map[string][]byte{"here": []byte(`{"x":"` + raw + `"}`)}, nil)) == 0 {
		t.Error("a token that nobody knows of is not found")
	}
}

// TestTheSearchFindsInEachPlace: what leaks into any of the places is taken down there.
func TestTheSearchFindsInEachPlace(t *testing.T) {
	binary := make([]byte, 32)
	_, _ = rand.Read(binary)
	node := redistest.Start(t)
	for _, s := range []secret{{"binary", binary}, {"text", []byte(redisPassword)}} {
		for form, text := range encodings(t, s.value, s.name != "binary") {
			for place, data := range leak(t, node, text) {
				if len(search(map[string][]byte{place: data}, []secret{s})) == 0 {
					t.Errorf("%s, %s: not found in %s", s.name, form, place)
				}
			}
		}
	}
}

// leak puts a text into every place, by the ways that a broker has.
func leak(t *testing.T, node *redistest.Node, text string) map[string][]byte {
	t.Helper()
	places := map[string][]byte{}
	log := &buffer{}
	slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})).Debug("it failed", "error", text)
	places["the log"] = log.Bytes()

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			w.WriteHeader(http.StatusBadRequest)
		}
		_, _ = io.WriteString(w, "said: "+text)
	}))
	defer server.Close()
	places["metrics"] = page(t, server.URL+"/metrics")
	rec := newRecorder()
	resp, err := (&http.Client{Transport: rec}).Post(server.URL+"/token", "text/plain", nil) //nolint:noctx // to this very process
	must(t, err)
	resp.Body.Close()
	places["answers"] = rec.answers.Bytes()

	pprof.Do(t.Context(), pprof.Labels("subject", text), func(context.Context) { places["profiles"] = profiles(t) })

	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "audit"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "audit", "1.log"), []byte("a record of "+text+"\n"), 0o600))
	places["the data folder"] = files(t, dir, "root.key", "tokens")

	for kind, put := range map[string]func(c *goredis.Client) error{
		"string": func(c *goredis.Client) error { return c.Set(t.Context(), "k", "x"+text, 0).Err() },
		"hash":   func(c *goredis.Client) error { return c.HSet(t.Context(), "k", "f", text).Err() },
		"field":  func(c *goredis.Client) error { return c.HSet(t.Context(), "k", text, "v").Err() },
		"zset":   func(c *goredis.Client) error { return c.ZAdd(t.Context(), "k", goredis.Z{Member: text}).Err() },
		"stream": func(c *goredis.Client) error {
			return c.XAdd(t.Context(), &goredis.XAddArgs{Stream: "k", Values: []string{"r", text}}).Err()
		},
		"key": func(c *goredis.Client) error { return c.Set(t.Context(), "k:"+text, "v", 0).Err() },
	} {
		node.FlushAll(t)
		must(t, put(node.Client()))
		places["redis, a "+kind] = contents(t, node)
	}
	node.FlushAll(t) // what is gone from Redis is in its file
	places["the files of redis"] = files(t, node.Dir())
	return places
}
