package cli_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/cli"
	"github.com/writbroker/writ/httpapi/wire"
)

// TestKeysListNamesWhoIsWaitedFor: a rotation that is due and waits takes minutes to come about
// in a real broker, so this is one that only says so.
func TestKeysListNamesWhoIsWaitedFor(t *testing.T) {
	due := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathAdminKeys {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", wire.TypeJSON)
		_ = json.NewEncoder(w).Encode(wire.KeyList{
			Algorithm: "ES256", Custody: "file", Version: 7,
			Keys:    []wire.Key{{ID: "k1", State: "active"}, {ID: "k2", State: "next"}},
			Waiting: &wire.KeyWait{ID: "k2", Due: due, Until: due.Add(10 * time.Minute), Total: 3, Verifiers: []string{"warehouse (k8s:prod:api 1)", "mail (k8s:prod:mail 2)"}},
		})
	}))
	t.Cleanup(admin.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("a-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errOut strings.Builder
	if code := cli.Main([]string{"keys", "list", "--admin", admin.URL, "--token-file", file}, strings.NewReader(""), &out, &errOut); code != cli.ExitOK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	want := `k2 is due to sign, and waits until 2026-07-01T12:10:00Z for 3 connected verifiers that have not reported it
  warehouse (k8s:prod:api 1)
  mail (k8s:prod:mail 2)
  and 1 more
`
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("it printed\n%s\nwant at its end\n%s", out.String(), want)
	}
}
