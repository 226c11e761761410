package client_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
)

// answer is what a scripted broker says to one request.
type answer struct {
	status int
	header map[string]string
	body   any
}

func success(token string) answer {
	return answer{status: 200, body: wire.TokenResponse{AccessToken: token, IssuedTokenType: wire.TokenTypeAccessToken,
		TokenType: wire.Bearer, ExpiresIn: 300, Scope: "warehouse:read:sales/**"}}
}

func refusal(status int, code string, header ...string) answer {
	a := answer{status: status, body: wire.Error{Code: code, Description: "no", DecisionID: "d-1", Refused: []string{"warehouse:write:a"}}, header: map[string]string{}}
	for i := 0; i+1 < len(header); i += 2 {
		a.header[header[i]] = header[i+1]
	}
	return a
}

// seen is a request as the scripted broker got it, body read.
type seen struct {
	*http.Request
	body []byte
}

// broker answers requests from a script; the last answer repeats. It serves as
// a RoundTripper too, so that a test can run in a synctest bubble.
type broker struct {
	mu     sync.Mutex
	script []answer
	got    []seen
}

func (b *broker) next(r *http.Request) answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	b.got = append(b.got, seen{r, body})
	a := b.script[0]
	if len(b.script) > 1 {
		b.script = b.script[1:]
	}
	return a
}

func (b *broker) requests() []seen {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]seen(nil), b.got...)
}

func (a answer) encoded() []byte {
	if raw, ok := a.body.(string); ok {
		return []byte(raw)
	}
	data, err := json.Marshal(a.body)
	if err != nil {
		panic(err)
	}
	return data
}

func (b *broker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := b.next(r)
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.encoded())
}

func (b *broker) RoundTrip(r *http.Request) (*http.Response, error) {
	a := b.next(r)
	resp := &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a.encoded())), Request: r}
	for k, v := range a.header {
		resp.Header.Set(k, v)
	}
	return resp, nil
}

func serve(t *testing.T, script ...answer) (*broker, *httptest.Server) {
	t.Helper()
	b := &broker{script: script}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	return b, s
}

// newClient makes a client of s whose idle connections end with the test.
func newClient(t *testing.T, s *httptest.Server) *client.Client {
	t.Helper()
	transport := client.NewTransport(nil)
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(client.Config{Issuer: s.URL, Transport: transport, MaxWait: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
