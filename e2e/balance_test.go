package e2e_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"sync/atomic"
	"testing"
	"time"
)

// balance is a load balancer in front of replicas, and its URL: they take turns, and who cannot be
// reached is passed over.
func balance(t *testing.T, replicas func() []*process) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1, // the feed
		Rewrite:       func(p *httputil.ProxyRequest) { p.Out.URL.Scheme = "http" },
		Transport:     &turns{replicas: replicas, to: &http.Transport{MaxIdleConnsPerHost: 64}},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}}
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections() // feeds do not end by themselves
		s.Close()
	})
	return s.URL
}

type turns struct {
	replicas func() []*process
	to       http.RoundTripper
	turn     atomic.Int64
}

// RoundTrip asks one replica after the other until one answers. All that is asked here may be asked twice.
func (r *turns) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	err := errors.New("there is no replica")
	all, turn := r.replicas(), int(r.turn.Add(1))
	for i := range all {
		out := req.Clone(req.Context())
		out.URL.Host = all[(turn+i)%len(all)].public
		if req.Body != nil {
			out.Body = io.NopCloser(bytes.NewReader(body))
		}
		var resp *http.Response
		if resp, err = r.to.RoundTrip(out); err == nil {
			return resp, nil
		}
	}
	return nil, err
}
