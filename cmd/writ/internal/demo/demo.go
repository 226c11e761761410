// Package demo tells Writ's whole story and checks every step of it: an agent gets a token
// and uses it, is refused what it may not do, acts for a person, hands less on to another
// agent; security ops takes credentials back; keys rotate; the audit log shows it all.
//
// It speaks to a [dev.World] over HTTP, as anybody would, with nothing of Writ's own
// clients or parsers between it and the wire: what it checks an answer with must not be what
// made the answer. A step holds only if every status, header, claim and record is exactly
// what it must be. It never shows a token. The command demo calls it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/dev"
)

// timeout bounds the whole story; it takes a few seconds.
const timeout = time.Minute

// Config says where the story takes place, and who watches.
type Config struct {
	// DataDir is kept, for a look at what was written; empty means a temporary one.
	DataDir string
	// Logger gets what broker and resource server log; nil discards.
	Logger *slog.Logger
	// Redis, if set, is the store; nil is the embedded one.
	Redis *dev.Redis
	// Transport, if set, carries what the story sends, for who looks at all of it.
	Transport http.RoundTripper
	// Started, if set, is called once everything serves; Done after each step.
	Started func(*dev.World)
	Done    func(Step)
}

// Report is what became of the story.
type Report struct {
	OK      bool    `json:"ok"`
	StartMS float64 `json:"start_ms"` // until everything served
	MS      float64 `json:"ms"`       // in total
	Steps   []Step  `json:"steps"`
}

// Step is one step as it went. Fault is empty if it held.
type Step struct {
	Number    int        `json:"number"`
	Name      string     `json:"name"`
	Title     string     `json:"title"`
	OK        bool       `json:"ok"`
	Skipped   bool       `json:"skipped,omitempty"` // an earlier one did not hold
	MS        float64    `json:"ms"`
	Exchanges []Exchange `json:"exchanges,omitempty"`
	Fault     string     `json:"fault,omitempty"`
}

// StepError says which step did not hold, and why.
type StepError struct {
	Number int
	Name   string
	Err    error
}

// Error names the step.
func (e *StepError) Error() string {
	return fmt.Sprintf("step %d (%s) did not hold: %v", e.Number, e.Name, e.Err)
}

// Unwrap gives what was wrong.
func (e *StepError) Unwrap() error { return e.Err }

// Run starts a world, plays the story in it and ends it. The error is a *StepError if a step
// did not hold; steps after that one are skipped, since each stands on those before it.
func Run(ctx context.Context, cfg Config) (_ Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	w, err := dev.Start(ctx, dev.Config{DataDir: cfg.DataDir, Logger: cfg.Logger, Redis: cfg.Redis})
	if err != nil {
		return Report{}, fmt.Errorf("starting: %w", err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	report := Report{OK: true, StartMS: since(began)}
	if cfg.Started != nil {
		cfg.Started(w)
	}
	s, err := newStory(ctx, w, cfg.Transport)
	if err != nil {
		return report, err
	}
	defer s.http.CloseIdleConnections()
	for i, part := range parts() {
		step := Step{Number: i + 1, Name: part.name, Title: part.title, Skipped: !report.OK}
		if report.OK {
			fault := s.play(ctx, part, &step)
			if report.OK = step.OK; fault != nil {
				err = &StepError{step.Number, step.Name, fault}
			}
		}
		report.Steps = append(report.Steps, step)
		if cfg.Done != nil {
			cfg.Done(step)
		}
	}
	report.MS = since(began)
	return report, err
}

// play runs one part, and says in step how it went.
func (s *story) play(ctx context.Context, p part, step *Step) error {
	s.exchanges = nil
	began := time.Now()
	err := p.run(ctx, s)
	select {
	case failed := <-s.world.Failed():
		err = errors.Join(err, failed)
	default:
	}
	step.MS, step.Exchanges, step.OK = since(began), s.exchanges, err == nil
	if err != nil {
		step.Fault = err.Error()
	}
	return err
}

func newStory(ctx context.Context, w *dev.World, transport http.RoundTripper) (*story, error) {
	if transport == nil {
		transport = &http.Transport{MaxIdleConnsPerHost: 4}
	}
	samples, err := w.Samples(ctx)
	if err != nil {
		return nil, err
	}
	return &story{
		world: w, samples: samples, issued: map[string]bool{},
		http: &http.Client{
			Transport:     transport,
			Timeout:       20 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func since(t time.Time) float64 { return float64(time.Since(t).Microseconds()) / 1000 }
