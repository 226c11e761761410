package verifier_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
	"github.com/writbroker/writ/verifier"
)

// A bounded cache forgets; what it forgets is only slower.
func TestMoreTokensThanTheCacheHolds(t *testing.T) {
	b := newBroker(t)
	v := b.run(func(c *verifier.Config) { c.CacheSize = 16 })
	var raws []string
	for range 200 {
		raws = append(raws, b.mint())
	}
	for range 2 {
		for i, raw := range raws {
			if c, err := v.Verify(t.Context(), raw); err != nil || c.Subject != "user:alice" {
				t.Fatalf("token %d: %v", i, err)
			}
		}
	}
	b.revoke(revocation.SelectSubject, "user:alice")
	b.reached(v)
	for i, raw := range raws {
		if _, err := v.Verify(t.Context(), raw); err == nil {
			t.Errorf("token %d survived", i)
		}
	}
}

// Many callers, rules that land meanwhile: whoever verifies after a rule was
// applied sees it.
func TestConcurrentVerifyAndRevoke(t *testing.T) {
	b := newBroker(t)
	v := b.run(func(c *verifier.Config) { c.CacheSize = 64 })
	const subjects = 40
	raws := make([]string, subjects)
	for i := range raws {
		raws[i] = b.mint(func(c *token.Claims) { c.Subject = fmt.Sprintf("user:s%d", i) })
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					_, _ = v.Verify(t.Context(), raws[i%subjects])
				}
			}
		})
	}
	for i := range subjects {
		b.revoke(revocation.SelectSubject, fmt.Sprintf("user:s%d", i))
		b.reached(v)
		if _, err := v.Verify(t.Context(), raws[i]); err == nil {
			t.Errorf("subject %d survived its rule", i)
		}
	}
	close(stop)
	wg.Wait()
}
