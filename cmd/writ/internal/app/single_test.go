package app_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/cmd/writ/internal/clock"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/verifier"
)

// single runs one broker in this process, until the test ends.
func single(t *testing.T, opt app.Options) (*world, *client.Admin) {
	t.Helper()
	w := newWorld(t)
	cfg, err := config.Load(w.config)
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Start(t.Context(), cfg, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	w.ready(t, &strings.Builder{})
	op, err := w.operator()
	if err != nil {
		t.Fatal(err)
	}
	return w, op
}

// metric sums what /metrics says of a name, over the labels that begin so.
func (w *world) metric(t *testing.T, series string) (sum float64) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if rest, ok := strings.CutPrefix(line, series); ok {
			var n float64
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &n); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			sum += n
		}
	}
	return sum
}

// TestARotationAsksForNoKeys: two hundred verifiers hear of a rotation on their feeds, and none
// of them asks the broker what the keys are.
func TestARotationAsksForNoKeys(t *testing.T) {
	w, admin := single(t, app.Options{})
	const servers = 200
	for range servers {
		// Of two hundred in one process none takes the silence of a busy machine for that of the broker.
		w.resourceServer(t, "warehouse", func(c *verifier.Config) { c.MaxStaleness = 2 * time.Minute })
	}
	all := func(kids func([]string) bool) func() bool {
		return func() bool {
			list, err := admin.Verifiers(t.Context())
			return err == nil && len(list.Verifiers) == servers &&
				!slices.ContainsFunc(list.Verifiers, func(v wire.Verifier) bool { return !kids(v.Keys) })
		}
	}
	eventually(t, "every verifier reports two keys", all(func(kids []string) bool { return len(kids) == 2 }))
	const asked = `writ_http_requests_total{route="GET /.well-known/jwks.json"`
	before := w.metric(t, asked)
	if before < servers {
		t.Fatalf("%v requests at the start", before)
	}
	done, err := admin.Rotate(t.Context(), wire.RotateRequest{Apply: true, Reason: "test"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "every verifier reports the key that is next now", all(func(kids []string) bool {
		return len(kids) == 3 && slices.Contains(kids, done.Activated)
	}))
	if n := w.metric(t, asked) - before; n != 0 {
		t.Errorf("%v requests for the keys of one rotation", n)
	}
	if n := w.metric(t, "writ_keys_activation_waiting"); n != 0 {
		t.Errorf("%v verifiers are waited for", n)
	}
}

// TestAClockThatIsSetIsTold: in the metrics and in the audit log.
func TestAClockThatIsSetIsTold(t *testing.T) {
	var wall, both, looks atomic.Int64
	began := time.Now()
	read := func() clock.Reading {
		defer looks.Add(1)
		elapsed := time.Since(began) + time.Duration(both.Load())
		return clock.Reading{Wall: began.Add(elapsed + time.Duration(wall.Load())), Elapsed: elapsed}
	}
	w, admin := single(t, app.Options{}.OnClocks(read, 10*time.Millisecond))
	recorded := func(name, value string) func() bool {
		return func() bool {
			page, err := admin.Audit(t.Context(), client.AuditQuery{Kind: "clock", Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(page.Records, func(r wire.AuditRecord) bool {
				d, err := time.ParseDuration(r.Detail[name])
				want, _ := time.ParseDuration(value)
				return err == nil && r.Kind == "clock" && r.Outcome == "error" && d.Round(time.Minute) == want
			})
		}
	}
	eventually(t, "the clocks are looked at", func() bool { return looks.Load() > 0 }) // a broker may be ready before
	wall.Store(int64(-5 * time.Minute))
	eventually(t, "the step is recorded", recorded("step", "-5m"))
	both.Store(int64(2 * time.Hour))
	eventually(t, "the pause is recorded", recorded("pause", "2h"))
	if steps, pauses := w.metric(t, "writ_clock_steps_total "), w.metric(t, "writ_clock_pauses_total "); steps != 1 || pauses < 1 {
		t.Errorf("%v steps and %v pauses were counted", steps, pauses)
	}
}
