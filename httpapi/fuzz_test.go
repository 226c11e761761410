package httpapi_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/internal/brokertest"
	"github.com/writbroker/writ/mint/awssts"
)

// Whatever a body holds, it is read without a panic, and what is accepted had each parameter once.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{
		"", "grant_type=client_credentials", "grant_type=client_credentials&grant_type=client_credentials",
		"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&audience=a&audience=b&requested_ttl=5",
		"a=%zz", "a;b", "&&&", "=x", "grant_type=client_credentials&requested_ttl=-1",
		"grant_type=client_credentials&client_assertion=x&client_assertion_type=y",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/token", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		ok, err := httpapi.ParseForm(httptest.NewRecorder(), r)
		if !ok {
			if err == nil {
				t.Fatal("refused without a reason")
			}
			return
		}
		values, err := url.ParseQuery(body)
		if err != nil {
			t.Fatalf("accepted: %v", err)
		}
		for name, list := range values {
			if len(list) > 1 && name != "audience" && name != "resource" {
				t.Fatalf("%q was accepted %d times", name, len(list))
			}
		}
		if g := values.Get("grant_type"); g != "client_credentials" && g != "urn:ietf:params:oauth:grant-type:token-exchange" {
			t.Fatalf("grant_type %q was accepted", g)
		}
	})
}

// Whatever stands in the query, in Authorization and in Host: nothing is minted for somebody who
// proves nothing, and no fault of ours comes of it.
func FuzzContainerCredentials(f *testing.F) {
	a := brokertest.NewAWS(awssts.AssumeRole)
	s := serve(f, options{world: a.Options(f)})
	public := s.api.Public()
	for _, seed := range [][3]string{
		{"role=default&scope=lake:read:a/b", "Bearer x.y.z", "127.0.0.1:80"}, {"scope=%zz", "x", "localhost"}, {"role=a;b", "Basic x", "[::1]:80"},
		{"subject_token=x", "", "evil.example"}, {"requested_ttl=-1", "Bearer  ", ""}, {"task=\x00&role=a&role=b", "a,b", "127.0.0.1:080"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
	f.Fuzz(func(t *testing.T, query, authorization, host string) {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, local)
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/aws/credentials", nil)
		r.RemoteAddr, r.Host, r.URL.RawQuery = "127.0.0.1:4711", host, query
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		public.ServeHTTP(w, r)
		var body wire.AWSError
		if w.Code < 400 || w.Code >= 500 || json.Unmarshal(w.Body.Bytes(), &body) != nil || body.Code == "" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		if len(a.STS.Calls("")) > 0 {
			t.Error("STS was asked")
		}
	})
}
