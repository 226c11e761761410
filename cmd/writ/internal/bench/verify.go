package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/writbroker/writ/verifier"
)

const (
	verifyRounds = 9
	// snapshotTimeout is for a million rules to be made, sent and applied.
	snapshotTimeout = 45 * time.Second
	allocCalls      = 200_000
)

// verify measures a resource server's check of a token: one that it never saw against the raw
// verification of a signature, and one that it remembers.
func (r *run) verify(ctx context.Context) error {
	p, err := startPublisher(ctx, r.sizes.Rules)
	if err != nil {
		return err
	}
	v, err := verifier.New(ctx, verifier.Config{Issuer: p.url, Audience: []string{toolAudience}, Tool: tool, FeedToken: p, Name: "bench"})
	if err != nil {
		return errors.Join(err, p.close())
	}
	var g errgroup.Group
	g.Go(func() error { return v.Run(ctx) })
	err = r.verifyWith(ctx, p, v)
	v.Close()
	return errors.Join(err, g.Wait(), p.close())
}

func (r *run) verifyWith(ctx context.Context, p *publisher, v *verifier.Verifier) error {
	r.cfg.Progress(fmt.Sprintf("verify: sending %d rules to the resource server", r.sizes.Rules))
	waiting, cancel := context.WithTimeout(ctx, snapshotTimeout)
	defer cancel()
	if err := v.Wait(waiting); err != nil {
		return fmt.Errorf("waiting for the rules: %w", err)
	}
	runtime.GC()
	if err := r.verifyCold(ctx, p, v); err != nil {
		return err
	}
	return r.verifyCached(ctx, p, v)
}

// verifyCold checks tokens once each, in turn with raw verifications.
func (r *run) verifyCold(ctx context.Context, p *publisher, v *verifier.Verifier) error {
	each := r.cfg.Duration / (3 * verifyRounds)
	raw, err := newRawCheck()
	if err != nil {
		return err
	}
	var ratios, floor, cold []float64
	minted := 0
	for range verifyRounds {
		base := raw.time(each)
		// Enough tokens for the time: a check is no faster than its signature's.
		tokens := make([]string, max(64, int(float64(each)/base)))
		for i := range tokens {
			if tokens[i], err = p.mint(ctx, minted); err != nil {
				return err
			}
			minted++
		}
		runtime.GC()
		began := time.Now()
		for _, t := range tokens {
			if _, err := v.Verify(ctx, t); err != nil {
				return fmt.Errorf("a good token is refused: %w", err)
			}
		}
		took := float64(time.Since(began)) / float64(len(tokens))
		ratios, floor, cold = append(ratios, took/base), append(floor, base), append(cold, took)
	}
	about := fmt.Sprintf(", %d rules live", r.sizes.Rules)
	r.report.add(PartVerify, "verify_cold_ratio", median(ratios), AtMost(1.35), "a token never seen before, all checks on, over one raw crypto/ecdsa verification"+about)
	r.report.add(PartVerify, "verify_cold_ns", slices.Min(cold), Goal{}, "")
	r.report.add(PartVerify, "raw_ecdsa_ns", slices.Min(floor), Goal{}, "one verification of an ES256 signature")
	return nil
}

// rawCheck is one signature, and what verifies it.
type rawCheck struct {
	key       *ecdsa.PrivateKey
	digest    [sha256.Size]byte
	signature []byte
}

func newRawCheck() (*rawCheck, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making key: %w", err)
	}
	c := &rawCheck{key: key, digest: sha256.Sum256([]byte(rand.Text()))}
	if c.signature, err = ecdsa.SignASN1(rand.Reader, key, c.digest[:]); err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return c, nil
}

func (c *rawCheck) time(d time.Duration) float64 {
	return timed(d, func() { ecdsa.VerifyASN1(&c.key.PublicKey, c.digest[:], c.signature) })
}

// verifyCached checks one token again and again, with its revocation asked each time.
func (r *run) verifyCached(ctx context.Context, p *publisher, v *verifier.Verifier) error {
	raw, err := p.mint(ctx, 0)
	if err != nil {
		return err
	}
	var fault error
	check := func() {
		if _, err := v.Verify(ctx, raw); err != nil {
			fault = err
		}
	}
	var costs []float64
	for range verifyRounds {
		costs = append(costs, timed(r.cfg.Duration/(3*verifyRounds), check))
	}
	allocs := allocations(check)
	if fault != nil {
		return fmt.Errorf("a good token is refused: %w", fault)
	}
	r.report.add(PartVerify, "verify_cached_ns", slices.Min(costs), AtMost(1000), fmt.Sprintf("a token seen before, %d rules live", r.sizes.Rules))
	r.report.add(PartVerify, "verify_cached_allocs", allocs, AtMost(0), "allocations of one such check")
	return nil
}

// allocations of one call, to a hundredth: what goes on in the background is not f's.
func allocations(f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range allocCalls {
		f()
	}
	runtime.ReadMemStats(&after)
	return math.Floor(float64(after.Mallocs-before.Mallocs)/allocCalls*100) / 100
}
