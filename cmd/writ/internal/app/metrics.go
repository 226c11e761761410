package app

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/writbroker/writ/keys"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/revocation/roll"
)

// metrics is what /metrics shows. Labels are paths, methods and status codes of the API,
// never a principal or a token.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	steps    prometheus.Counter
	pauses   prometheus.Counter
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "writ_http_requests_total", Help: "Answered requests, by route and status.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "writ_http_request_seconds", Help: "Time to answer, by route.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"route"}),
	}
	m.steps = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "writ_clock_steps_total", Help: "How often this machine's clock was found to have been set.",
	})
	m.pauses = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "writ_clock_pauses_total", Help: "How often this machine or process was found to have stood still.",
	})
	m.registry.MustRegister(m.requests, m.seconds, m.steps, m.pauses, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// gauges are read when they are asked for.
func (a *App) gauges() {
	for name, g := range map[string]struct {
		help string
		read func() float64
	}{
		"writ_revocation_rules":             {"Live rules and quarantines.", func() float64 { return float64(a.index.Len()) }},
		"writ_revocation_staleness_seconds": {"Time since the revocation log's tail was confirmed.", func() float64 { return a.journal.Staleness(a.now()).Seconds() }},
		"writ_revocation_pending":           {"Rules and lifts that are not in the log yet.", func() float64 { return float64(a.journal.Pending()) }},
		"writ_revocation_replicas_late":     {"Other replicas that hold up this one's confirmations.", func() float64 { return a.replicas((*roll.Roll).Awaited) }},
		"writ_revocation_replicas_absent":   {"Other replicas without which this one goes on: what they alone know is not known here.", func() float64 { return a.replicas((*roll.Roll).Absent) }},
		"writ_verifiers_connected":          {"Readers of this replica's revocation feed that acknowledge.", func() float64 { return float64(a.acks.Here()) }},
		"writ_policy_current":               {"1 if the newest bundle is in force, 0 if it is broken and the last good one stays.", func() float64 { return one(a.watcher.status().Current) }},
		"writ_audit_healthy":                {"1 if the audit log can be written.", func() float64 { return one(a.audit.Healthy() == nil) }},
		"writ_keys_activation_waiting":      {"Verifiers that a rotation which is due waits for, since they have not reported the next key.", a.keysAwaited},
		"writ_keys_ring_version":            {"Version of the key ring that this replica follows.", func() float64 { return float64(a.rotator.Ring().Version()) }},
		"writ_keys_staleness_seconds":       {"Time since the key ring was confirmed to be the shared one.", func() float64 { return a.rotator.Staleness(a.now()).Seconds() }},
		"writ_keys_lacking":                 {"1 if a key of the ring does not open here, and the key set is not served for that.", func() float64 { return one(a.rotator.Ring().Lacks()) }},
		"writ_keys_active_seconds":          {"How long the active key has signed.", a.activeFor},
		"writ_keys_published":               {"Keys in the JWKS.", func() float64 { return float64(len(a.rotator.Ring().Public().Keys())) }},
	} {
		a.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: g.help}, g.read))
	}
	if a.sessions != nil {
		a.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "writ_aws_sessions_kept", Help: "AWS sessions that an equal request is given again.",
		}, func() float64 { return float64(a.sessions.Kept()) }))
	}
	if a.revoker != nil {
		a.metrics.registry.MustRegister(roleStates{a.revoker.States})
	}
}

// roleStates are a gauge of roles by how far the denies have come that AWS should have.
type roleStates struct {
	read func() map[mint.DenyState]int
}

var rolesDesc = prometheus.NewDesc("writ_aws_denying_roles", "AWS roles that deny sessions, or are to, by state.", []string{"state"}, nil)

// Describe implements prometheus.Collector.
func (roleStates) Describe(out chan<- *prometheus.Desc) { out <- rolesDesc }

// Collect implements prometheus.Collector.
func (s roleStates) Collect(out chan<- prometheus.Metric) {
	states := s.read()
	for _, state := range []mint.DenyState{mint.DenyPending, mint.DenyDone, mint.DenyFailed} {
		out <- prometheus.MustNewConstMetric(rolesDesc, prometheus.GaugeValue, float64(states[state]), string(state))
	}
}

// replicas counts others, where there can be any.
func (a *App) replicas(which func(*roll.Roll) []string) float64 {
	if a.roll == nil {
		return 0
	}
	return float64(len(which(a.roll)))
}

func (a *App) keysAwaited() float64 {
	awaited, _ := a.rotator.Awaited()
	return float64(len(awaited.Verifiers))
}

// activeFor is 0 where no key signs.
func (a *App) activeFor() float64 {
	for _, k := range a.rotator.List() {
		if k.Stage == keys.StageActive {
			return max(a.now().Sub(k.Activated), 0).Seconds()
		}
	}
	return 0
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 5 * time.Second})
}

// observed counts what a handler answers, if anybody may see it.
func (a *App) observed(h http.Handler) http.Handler {
	if a.metrics == nil {
		return h
	}
	return a.metrics.observe(h, a.now)
}

// observe counts what a mux answers, by the route that matched.
func (m *metrics) observe(next http.Handler, now func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r)
		route := r.Pattern
		if route == "" {
			route = "other"
		}
		m.requests.WithLabelValues(route, strconv.Itoa(sw.status)).Inc()
		m.seconds.WithLabelValues(route).Observe(now().Sub(start).Seconds())
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection, which the feed needs.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
