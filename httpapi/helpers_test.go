package httpapi_test

import (
	"net/netip"
	"testing"

	"github.com/writbroker/writ/httpapi"
)

func trusting(t *testing.T, prefixes []string) func(*httpapi.Config) {
	t.Helper()
	var out []netip.Prefix
	for _, p := range prefixes {
		out = append(out, netip.MustParsePrefix(p))
	}
	return func(c *httpapi.Config) { c.TrustedProxies = out }
}
