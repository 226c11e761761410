package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/writbroker/writ/broker"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/mint"
	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

const (
	// snapshotRules is how many rules one part of a snapshot holds.
	snapshotRules = 20_000
	// snapshotAge is how long a snapshot is served after the rules have changed, to readers
	// that get what it lacks from the feed: while rules come in, a storm of readers is
	// served from few encodings.
	snapshotAge = 5 * time.Second
	// snapshotIdle is how long an encoding that nobody asks for takes up memory.
	snapshotIdle = time.Minute
)

// encoded is one form of everything that is revoked, encoded and signed once and shared by
// all who read it. It is immutable.
type encoded struct {
	chunks   [][]byte
	etag     string
	position token.Rev
	changes  uint64 // Index.Changes before it was taken
	taken    time.Time
}

// snapshotCache keeps the last encoding of one form.
type snapshotCache struct {
	encode func(context.Context) (*encoded, error)

	mu   sync.Mutex
	last *encoded  // guarded by mu
	used time.Time // guarded by mu
}

// current returns an encoding of what is revoked now. While one is made, others wait for it.
func (c *snapshotCache) current(ctx context.Context, a *API) (*encoded, error) {
	return c.get(ctx, a, func(e *encoded) bool { return e.changes == a.cfg.Index.Changes() })
}

// recent returns an encoding of now, or of a moment ago that the feed can go on from.
func (c *snapshotCache) recent(ctx context.Context, a *API) (*encoded, error) {
	return c.get(ctx, a, func(e *encoded) bool {
		if e.changes == a.cfg.Index.Changes() {
			return true
		}
		if a.cfg.Now().Sub(e.taken) > snapshotAge {
			return false
		}
		_, _, resumes := a.cfg.Feed.Since(e.position)
		return resumes
	})
}

func (c *snapshotCache) get(ctx context.Context, a *API, good func(*encoded) bool) (*encoded, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = a.cfg.Now()
	if c.last != nil && good(c.last) {
		return c.last, nil
	}
	c.last = nil
	changes := a.cfg.Index.Changes() // before: what changes meanwhile makes the encoding old
	e, err := c.encode(ctx)
	if err != nil {
		return nil, err
	}
	e.changes, e.taken = changes, a.cfg.Now()
	c.last = e
	return e, nil
}

// release gives up an encoding that nobody asked for in a while.
func (c *snapshotCache) release(now time.Time) {
	if !c.mu.TryLock() {
		return // somebody asks
	}
	defer c.mu.Unlock()
	if now.Sub(c.used) > snapshotIdle {
		c.last = nil
	}
}

// encodeEvents makes the parts of a snapshot as they stand in the feed.
func (a *API) encodeEvents(ctx context.Context) (*encoded, error) {
	out := &encoded{}
	sum := sha256.New()
	id, taken := mint.NewID(a.cfg.Now()), a.cfg.Now()
	for part := range a.cfg.Index.Snapshots(snapshotRules) {
		part.ID, part.TakenAt = id, taken
		signed, err := a.signPart(ctx, part)
		if err != nil {
			return nil, err
		}
		frame, err := revocation.AppendSSE(nil, revocation.Event{
			Type: revocation.EventSnapshot, Position: part.Position, Snapshot: signed,
		})
		if err != nil {
			return nil, fmt.Errorf("framing snapshot: %w", err)
		}
		_, _ = sum.Write([]byte(signed[strings.LastIndexByte(signed, '.'):]))
		out.chunks = append(out.chunks, frame)
		out.position = part.Position
	}
	out.etag = etagOf(sum.Sum(nil))
	return out, nil
}

func (a *API) signPart(ctx context.Context, part revocation.Snapshot) (string, error) {
	payload, err := json.Marshal(part)
	if err != nil {
		return "", fmt.Errorf("encoding snapshot: %w", err)
	}
	signed, err := token.Sign(ctx, revocation.TypeSnapshot, payload, a.cfg.Records)
	if err != nil {
		return "", fmt.Errorf("signing snapshot: %w", err)
	}
	return signed, nil
}

// encodeBulk makes the compact form.
func (a *API) encodeBulk(ctx context.Context) (*encoded, error) {
	bulk, err := revocation.NewBulk(a.cfg.Index.Snapshots(snapshotRules), token.Rev{}, a.cfg.Now(), a.signBulk(ctx))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(bulk.Head)
	return &encoded{
		chunks: append([][]byte{bulk.Head}, bulk.Parts...), position: bulk.Position, etag: etagOf(sum[:]),
	}, nil
}

func (a *API) signBulk(ctx context.Context) func([]byte) (string, error) {
	return func(payload []byte) (string, error) {
		return token.Sign(ctx, revocation.TypeBulk, payload, a.cfg.Records)
	}
}

func etagOf(sum []byte) string { return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"` }

// serveSnapshot answers with everything that is revoked, or, with ?since=, with what changed
// after that position, if that is still known. Any cache may keep it, since it is signed;
// none may hand it out without asking here, where the reader's token is looked at.
func (a *API) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	if _, _, err := a.feedReader(r, adminScope("feed", "read")); err != nil {
		a.writeError(w, r, err)
		return
	}
	compact := wantsCompact(r.Header.Values("Accept"))
	ctx := r.Context()
	if text := r.URL.Query().Get(wire.ParamSince); text != "" {
		since, err := token.ParseRev(text)
		if err != nil {
			a.writeError(w, r, fmt.Errorf("%w: since is not a position", broker.ErrRequest))
			return
		}
		if events, reached, ok := a.cfg.Feed.Since(since); ok {
			delta, err := a.encodeDelta(ctx, revocation.Delta(since, reached, events), compact)
			a.sendSnapshot(w, r, delta, compact, err)
			return
		}
	}
	cache := &a.events
	if compact {
		cache = &a.bulk
	}
	full, err := cache.recent(ctx, a)
	a.sendSnapshot(w, r, full, compact, err)
}

func (a *API) encodeDelta(ctx context.Context, d revocation.Snapshot, compact bool) (*encoded, error) {
	out := &encoded{position: d.Position}
	if !compact {
		signed, err := a.signPart(ctx, d)
		out.chunks = [][]byte{[]byte(signed)}
		return out, err
	}
	bulk, err := revocation.NewBulk(slices.Values([]revocation.Snapshot{d}), d.Since, a.cfg.Now(), a.signBulk(ctx))
	if err != nil {
		return nil, err
	}
	out.chunks = append([][]byte{bulk.Head}, bulk.Parts...)
	return out, nil
}

func (a *API) sendSnapshot(w http.ResponseWriter, r *http.Request, e *encoded, compact bool, err error) {
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Vary", "Accept")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if e.etag != "" {
		h.Set("Cache-Control", "public, no-cache")
		h.Set("ETag", e.etag)
		if matches(r.Header.Values("If-None-Match"), e.etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Type", wire.TypeSnapshot)
	chunks := e.chunks
	if compact {
		h.Set("Content-Type", wire.TypeBulkSnapshot)
		size := 0
		for _, c := range chunks {
			size += len(c)
		}
		h.Set("Content-Length", strconv.Itoa(size))
	} else {
		chunks = lines(chunks)
	}
	out := &feedWriter{w: w, rc: http.NewResponseController(w)}
	for _, c := range chunks {
		if err := out.write(c, a.cfg.Now()); err != nil {
			a.cfg.Logger.InfoContext(r.Context(), "snapshot not read to its end", "error", err)
			panic(http.ErrAbortHandler) // or the reader would take the half for the whole
		}
	}
}

// lines gives the signed parts, one a line, as they stand in events.
func lines(frames [][]byte) [][]byte {
	var out [][]byte
	for _, f := range frames {
		if _, data, ok := bytes.Cut(f, []byte("\ndata: ")); ok {
			f = bytes.TrimSuffix(data, []byte("\n"))
		}
		out = append(out, f)
	}
	return out
}

// wantsCompact reports whether the compact form is named and not refused; whoever names
// nothing gets the JWS.
func wantsCompact(accept []string) bool {
	for _, h := range accept {
		for one := range strings.SplitSeq(h, ",") {
			kind, params, err := mime.ParseMediaType(one)
			if err != nil || kind != wire.TypeBulkSnapshot {
				continue
			}
			if q, err := strconv.ParseFloat(params["q"], 64); err != nil || q > 0 {
				return true
			}
		}
	}
	return false
}
