package httpapi_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/writbroker/writ/httpapi"
	"github.com/writbroker/writ/revocation"
)

func trusting(t *testing.T, prefixes []string) func(*httpapi.Config) {
	t.Helper()
	var out []netip.Prefix
	for _, p := range prefixes {
		out = append(out, netip.MustParsePrefix(p))
	}
	return func(c *httpapi.Config) { c.TrustedProxies = out }
}

func taskRule(now time.Time, task string) revocation.Rule {
	return revocation.Rule{
		ID: uuid.Must(uuid.NewV7()).String(), Selector: revocation.SelectTask, Value: task,
		CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}
}
