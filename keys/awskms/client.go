package awskms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go/logging"

	"github.com/writbroker/writ/internal/breaker"
)

// attempts is how often a call is made until KMS answers. Within Timeout, and with a
// pause that grows and differs.
const attempts = 3

// Client is this process's access to KMS. It is safe for concurrent use, starts no
// goroutine, and needs no end.
type Client struct {
	cfg     Config
	log     *slog.Logger
	kms     *kms.Client
	source  *source
	breaker *breaker.Breaker
	gate    *gate
	sealARN atomic.Pointer[string] // of Config.SealKey, once it was seen to fit
}

// New checks the configuration and reads what the SDK's default chain needs of files and
// environment. It does not call KMS: the first call does, so that a broker starts as far
// as it can without it.
func New(ctx context.Context, cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	shared, err := loadShared(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening aws kms client: %w", err)
	}
	if err := cfg.checkRegion(shared.Region); err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, log: cfg.Logger.With("kms", cfg.SealKey, "region", shared.Region),
		source:  &source{provider: shared.Credentials},
		breaker: breaker.New(breaker.Config{After: cfg.BreakAfter, Every: cfg.ProbeEvery, Now: cfg.Now}),
		gate:    newGate(cfg.Concurrency, cfg.QueueSize),
	}
	c.kms = kms.NewFromConfig(shared, func(o *kms.Options) {
		o.Credentials = c.source
		if cfg.Endpoint != "" {
			o.BaseEndpoint = &cfg.Endpoint
		}
	})
	// The default chain may name an endpoint too.
	if err := checkEndpoint(deref(c.kms.Options().BaseEndpoint), cfg.InsecureHTTP); err != nil {
		return nil, err
	}
	return c, nil
}

func loadShared(ctx context.Context, cfg Config) (aws.Config, error) {
	client := awshttp.NewBuildableClient().WithTimeout(cfg.Timeout).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = max(t.MaxIdleConnsPerHost, cfg.Concurrency)
		t.MaxIdleConns = max(t.MaxIdleConns, cfg.Concurrency)
	})
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(client),
		// What goes wrong is in the error; the SDK's own log could show what is sealed.
		config.WithLogger(logging.Nop{}),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts, o.MaxBackoff = attempts, cfg.backoff
			})
		}),
	}
	if cfg.Region != "" {
		options = append(options, config.WithRegion(cfg.Region))
	}
	if cfg.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(cfg.Profile))
	}
	if cfg.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(cfg.Credentials))
	}
	return config.LoadDefaultConfig(ctx, options...)
}

// String redacts.
func (*Client) String() string { return "[aws kms client]" }

// GoString redacts.
func (c *Client) GoString() string { return c.String() }

// source marks what fails in getting credentials, which is no answer of KMS.
type source struct{ provider aws.CredentialsProvider }

type sourceError struct{ err error }

func (*sourceError) Error() string   { return "aws credentials cannot be had" }
func (e *sourceError) Unwrap() error { return e.err }

// detail is what the source says. A credential process's error is not shown: it quotes
// what the process printed, and that may be the credentials.
func (e *sourceError) detail() string {
	if _, ok := errors.AsType[*processcreds.ProviderError](e.err); ok {
		return "credential_process failed: run it by hand"
	}
	return short(e.err.Error())
}

// Retrieve implements aws.CredentialsProvider.
func (s *source) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := s.provider.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &sourceError{err}
	}
	return credentials, nil
}

// renew has the next call get new credentials, if the source keeps any.
func (s *source) renew() {
	if cache, ok := s.provider.(*aws.CredentialsCache); ok {
		cache.Invalidate()
	}
}

// action is one call of the SDK's client, bound to it.
type action[I, O any] func(context.Context, *I, ...func(*kms.Options)) (*O, error)

// call makes a call within the bounds of the configuration, and once more with new
// credentials where the old ones have expired. name is the action as IAM names it.
func call[I, O any](ctx context.Context, c *Client, name, key string, do action[I, O], in *I, options ...func(*kms.Options)) (*O, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	out, err := once(ctx, c, name, key, do, in, options)
	if failed, ok := errors.AsType[*CallError](err); ok && failed.expired {
		c.source.renew()
		out, err = once(ctx, c, name, key, do, in, options)
	}
	c.cfg.Observe(name, err)
	return out, err
}

func once[I, O any](ctx context.Context, c *Client, name, key string, do action[I, O], in *I, options []func(*kms.Options)) (*O, error) {
	if err := ctx.Err(); err != nil {
		return nil, ended(name, key, err)
	}
	entered, why := c.breaker.Enter()
	if why != nil {
		refused := &CallError{Kind: ErrAway, Action: name, Key: key, Detail: "not asked, since it was so the last times"}
		if last, ok := errors.AsType[*CallError](why); ok {
			refused.Kind = last.Kind
		}
		return nil, refused
	}
	out, err := do(ctx, in, options...)
	if err == nil {
		c.leave(entered, breaker.Answered, nil)
		return out, nil
	}
	failed := classify(name, key, err)
	failed.Cause = ctx.Err()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		c.leave(entered, breaker.Inconclusive, nil)
		return nil, ended(name, key, context.Canceled)
	case failed.is(ErrAway, ErrNoCredentials):
		c.leave(entered, breaker.Away, failed)
	default:
		c.leave(entered, breaker.Answered, nil)
	}
	return nil, failed
}

// leave tells the breaker, and the log what came of it.
func (c *Client) leave(entered breaker.Call, outcome breaker.Outcome, failed error) {
	switch c.breaker.Leave(entered, outcome, failed) {
	case breaker.Opened:
		c.log.Error("aws kms is unavailable; it is tried from time to time only", "error", failed)
	case breaker.Closed:
		c.log.Info("aws kms is available again")
	case breaker.Unchanged:
	}
}

func ended(name, key string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s of %s: %w", name, key, err)
	}
	return &CallError{Kind: ErrAway, Action: name, Key: key, Detail: "no answer in time", Cause: err}
}

// noRepeats lets nothing be repeated that would make a thing twice.
func noRepeats(o *kms.Options) { o.Retryer = aws.NopRetryer{} }

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
