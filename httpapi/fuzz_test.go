package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/writbroker/writ/httpapi"
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
