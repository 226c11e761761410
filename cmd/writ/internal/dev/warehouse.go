package dev

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/scopes"
	"github.com/writbroker/writ/verifier"
)

// The tool that the resource server is, as the shipped bundle's catalog has it.
const (
	tool         = "warehouse"
	toolAudience = "https://warehouse.example.com"
	maxTable     = 64 << 10
)

// warehouse is a small data API, guarded as any resource server is: package verifier in
// front of its handlers, and its own token from its own workload identity.
type warehouse struct {
	url string

	mu     sync.Mutex
	tables map[string][]json.RawMessage // by resource
}

// Table is what a read of the data API answers.
type Table struct {
	Resource string            `json:"resource"`
	Rows     []json.RawMessage `json:"rows"`
	// For is on whose behalf the token acts, By the agents that act, the current one first,
	// and Task what for: as the server knows them from the verified token.
	For  string   `json:"for"`
	By   []string `json:"by,omitempty"`
	Task string   `json:"task,omitempty"`
}

func (w *World) startWarehouse(ctx context.Context, _ Config) error {
	ln, err := listen(ctx, anyPort)
	if err != nil {
		return err
	}
	w.store = &warehouse{url: "http://" + ln.Addr().String(), tables: map[string][]json.RawMessage{
		"sales/eu/orders":     {json.RawMessage(`{"id":1,"eur":120}`), json.RawMessage(`{"id":2,"eur":80}`)},
		"sales/eu/refunds":    {json.RawMessage(`{"id":1,"eur":15}`)},
		"sales/us/orders":     {json.RawMessage(`{"id":3,"usd":200}`)},
		"sales/pii/customers": {json.RawMessage(`{"id":1,"name":"Ada Example"}`)},
	}}
	v, err := w.newVerifier(ctx)
	if err != nil {
		return err
	}
	w.run(ctx, "verifier", v.Run)
	w.run(ctx, "resource server", serve(ln, w.store.handler(v)))
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := v.Wait(ctx); err != nil {
		return fmt.Errorf("starting resource server: %w", err)
	}
	return nil
}

// newVerifier gives the resource server what it needs of the broker: its keys, and a token
// for the revocation feed, which it exchanges for the token that its pod is given.
func (w *World) newVerifier(ctx context.Context) (*verifier.Verifier, error) {
	broker, err := client.New(client.Config{Issuer: w.Issuer(), Now: w.now})
	if err != nil {
		return nil, fmt.Errorf("reaching broker: %w", err)
	}
	logger := w.logger.With("part", "resource server")
	source, err := client.NewSource(client.SourceConfig{
		Client: broker, Subject: client.File(w.tokenFile(SampleServer)), Now: w.now, Logger: logger,
		Request: client.Request{Scopes: []string{"writ:feed:read"}},
	})
	if err != nil {
		return nil, fmt.Errorf("making token source: %w", err)
	}
	w.onClose(func() error { source.Close(); return nil })
	return verifier.New(ctx, verifier.Config{
		Issuer: w.Issuer(), Audience: []string{toolAudience}, Tool: tool, Resource: w.store.url,
		FeedToken: source, Name: "warehouse-api", Now: w.now, Logger: logger,
	})
}

func (s *warehouse) handler(v *verifier.Verifier) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /data/{region}/{table}", v.Require(tool, "read", resourceOf)(http.HandlerFunc(s.read)))
	mux.Handle("PUT /data/{region}/{table}", v.Require(tool, "write", resourceOf)(http.HandlerFunc(s.write)))
	mux.Handle(v.MetadataPath(), v.ResourceMetadata("warehouse", "warehouse:read:sales/**", "warehouse:write:sales/**"))
	return mux
}

// resourceOf builds the resource from its segments: whatever stands in them, it stays one
// segment each.
func resourceOf(r *http.Request) (string, error) {
	return scopes.Resource("sales", r.PathValue("region"), r.PathValue("table"))
}

func (s *warehouse) read(w http.ResponseWriter, r *http.Request) {
	name, err := resourceOf(r)
	claims, ok := verifier.FromContext(r.Context())
	if err != nil || !ok {
		w.WriteHeader(http.StatusInternalServerError) // the middleware let it through, so neither can be
		return
	}
	s.mu.Lock()
	rows, found := s.tables[name]
	rows = slices.Clone(rows)
	s.mu.Unlock()
	if !found {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "not_found"})
		return
	}
	writeJSON(w, http.StatusOK, Table{
		Resource: name, Rows: rows, For: claims.Subject, By: claims.Actor.Chain(), Task: claims.Task,
	})
}

func (s *warehouse) write(w http.ResponseWriter, r *http.Request) {
	name, err := resourceOf(r)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTable))
	var rows []json.RawMessage
	if err != nil || json.Unmarshal(body, &rows) != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found := s.tables[name]; !found {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "not_found"})
		return
	}
	s.tables[name] = rows
	writeJSON(w, http.StatusOK, map[string]any{"resource": name, "written": len(rows)})
}
