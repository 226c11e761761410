package awskms_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/keys/awskms"
	"github.com/writbroker/writ/token"
)

// delayed is the KMS as it is seen where its first answer to an action comes late: reached is closed
// when that is on its way, and goes on with release.
func (w *world) delayed(t *testing.T, action string) (endpoint string, reached <-chan struct{}, release func()) {
	t.Helper()
	to, err := url.Parse(w.URL)
	must(t, err)
	var came atomic.Bool
	arrived, goOn := make(chan struct{}), make(chan struct{})
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			if strings.HasSuffix(r.Request.Header.Get("X-Amz-Target"), "."+action) && !came.Swap(true) {
				close(arrived)
				<-goOn
			}
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	release = sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(func() { release(); server.Close() })
	return server.URL, arrived, release
}

// Of two that follow the alias at once, one may find another key than the other: what each seals opens
// all the same.
func TestAnAliasThatMovesWhileItIsFollowed(t *testing.T) {
	w := newWorld(t)
	w.Alias("alias/writ", w.sealKey)
	endpoint, reached, release := w.delayed(t, "DescribeKey")
	sealing := w.client(t, func(c *awskms.Config) {
		c.Endpoint, c.SealKey, c.Timeout = endpoint, "alias/writ", time.Minute
	}).Sealing()
	type result struct {
		keys.Material

		err error
	}
	early := make(chan result, 1)
	go func() {
		m, err := sealing.Generate(t.Context(), ring, token.ES256, birth)
		early <- result{m, err}
	}()
	<-reached
	w.Alias("alias/writ", w.SymmetricKey(t))
	second := made(t, sealing, token.ES256)
	release()
	got := <-early
	must(t, got.err)
	for name, k := range map[string]keys.KeyInfo{"the first": standing(t, sealing, got.Material, token.ES256), "the second": second} {
		if _, err := sealing.Open(t.Context(), ring, k); err != nil {
			t.Errorf("%s does not open: %v", name, err)
		}
	}
}
