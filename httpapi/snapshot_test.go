package httpapi_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// got is an answer that was read to its end.
type got struct {
	StatusCode int
	Header     http.Header
}

// getSnapshot fetches the list with headers in pairs.
func (s *server) getSnapshot(query, auth string, headers ...string) (got, []byte) {
	s.tb.Helper()
	req, err := http.NewRequestWithContext(s.tb.Context(), http.MethodGet, s.public.URL+"/revocations/snapshot"+query, nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("Authorization", "Bearer "+auth)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.public.Client().Do(req)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.tb.Fatal(err)
	}
	return got{resp.StatusCode, resp.Header}, body
}

const compact = "application/vnd.writ.snapshot"

// readBulk merges the compact form into an index.
func (s *server) readBulk(x *revocation.Index, body []byte) (revocation.BulkHead, error) {
	return revocation.ReadBulk(bytes.NewReader(body), func(jws string) ([]byte, error) {
		u, err := token.ParseRecord(jws, revocation.MaxBulkHead)
		if err != nil {
			return nil, err
		}
		if err := token.CheckType(u.Header(), revocation.TypeBulk); err != nil {
			return nil, err
		}
		return u.Verify(token.Key{ID: "records", Algorithm: token.Ed25519, Public: s.RecordsKey()})
	}, x.Merge)
}

func TestSnapshot(t *testing.T) {
	s := serve(t, options{})
	auth := s.reader()
	first := s.Revoke(t, revocation.SelectTask, "t1")
	from := s.Index.Position()

	resp, body := s.getSnapshot("", auth, "Accept", compact+", application/json;q=0.5")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != compact || resp.Header.Get("Vary") != "Accept" ||
		resp.Header.Get("Cache-Control") != "public, no-cache" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	x := revocation.NewIndex(revocation.Options{})
	if head, err := s.readBulk(x, body); err != nil || head.Position != from || x.Position() != from || x.Len() != 1 {
		t.Fatalf("read %+v, %v, %d rules at %v", head, err, x.Len(), x.Position())
	}

	t.Run("is fetched once", func(t *testing.T) {
		resp, body := s.getSnapshot("", auth, "Accept", compact, "If-None-Match", resp.Header.Get("ETag"))
		if resp.StatusCode != http.StatusNotModified || len(body) != 0 {
			t.Errorf("%d, %d bytes", resp.StatusCode, len(body))
		}
	})
	t.Run("needs a token, whoever has it cached", func(t *testing.T) {
		for _, auth := range []string{"", "nonsense"} {
			if resp, body := s.getSnapshot("", auth, "Accept", compact, "If-None-Match", resp.Header.Get("ETag")); resp.StatusCode != 401 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		}
	})
	second := s.Revoke(t, revocation.SelectTask, "t2")
	t.Run("since a position", func(t *testing.T) {
		for name, body := range map[string][]byte{
			"compact": second1(s.getSnapshot("?since="+from.String(), auth, "Accept", compact)),
			"jws":     second1(s.getSnapshot("?since="+from.String(), auth)),
		} {
			late := revocation.NewIndex(revocation.Options{})
			if err := s.readAny(late, body); err == nil {
				t.Errorf("%s: taken by a reader that lacks what lies before", name)
			}
			if err := late.Merge(x.Snapshot()); err != nil {
				t.Fatal(err)
			}
			if err := s.readAny(late, body); err != nil || late.Len() != 2 || late.Position() != s.Index.Position() {
				t.Errorf("%s: %v, %d rules at %v", name, err, late.Len(), late.Position())
			}
			if _, ok := late.Rule(second.ID); !ok {
				t.Errorf("%s lacks the rule", name)
			}
		}
		resp, body := s.getSnapshot("?since=00000000000000ff.9", auth, "Accept", compact)
		all := revocation.NewIndex(revocation.Options{})
		if _, err := s.readBulk(all, body); resp.StatusCode != 200 || err != nil {
			t.Fatalf("%d %v", resp.StatusCode, err)
		}
		if _, ok := all.Rule(first.ID); !ok {
			t.Error("whose position is not known gets everything")
		}
		if resp, _ := s.getSnapshot("?since=yesterday", auth); resp.StatusCode != 400 {
			t.Errorf("%d", resp.StatusCode)
		}
	})
	t.Run("not a byte can be changed", func(t *testing.T) {
		for i := 0; i < len(body); i += 1 + len(body)/64 {
			bad := bytes.Clone(body)
			bad[i] ^= 1
			if _, err := s.readBulk(revocation.NewIndex(revocation.Options{}), bad); err == nil {
				t.Errorf("byte %d", i)
			}
		}
		for _, bad := range [][]byte{nil, body[:len(body)-1], append(bytes.Clone(body), 0)} {
			x := revocation.NewIndex(revocation.Options{})
			if _, err := s.readBulk(x, bad); err == nil || !x.Position().IsZero() {
				t.Errorf("%d of %d bytes were taken", len(bad), len(body))
			}
		}
	})
}

func second1(_ got, body []byte) []byte { return body }

// readAny takes either form.
func (s *server) readAny(x *revocation.Index, body []byte) error {
	if bytes.HasPrefix(body, []byte("WRITSNP1")) {
		_, err := s.readBulk(x, body)
		return err
	}
	for line := range strings.Lines(string(body)) {
		u, err := token.ParseRecord(strings.TrimSpace(line), 16<<20)
		if err != nil {
			return err
		}
		payload, err := u.Verify(token.Key{ID: "records", Algorithm: token.Ed25519, Public: s.RecordsKey()})
		if err != nil {
			return err
		}
		var part revocation.Snapshot
		if err := json.Unmarshal(payload, &part); err != nil {
			return err
		}
		if err := x.Merge(part); err != nil {
			return err
		}
	}
	return nil
}
