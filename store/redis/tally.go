package redis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/store"
)

// Tally are the shared counts: a hash for each bucket, with each count under its
// name, and when the bucket falls away under a field of its own, each sealed for its
// place. Redis removes a bucket some time after that.
type Tally struct{ db *DB }

const (
	expiryField = "\x00"
	countPrefix = "\x01" // keeps the fields of counts apart from the expiry's

	// tallyGrace is how much longer Redis keeps a bucket: clocks differ.
	tallyGrace = time.Minute
	// tallyAttempts bounds how often an Add begins again where other replicas change
	// the same counts at once.
	tallyAttempts = 100
)

func bucketKey(bucket string) string { return tag + ":tally:" + bucket }

// hash reads fields of a hash; what is absent is empty.
func (db *DB) hash(ctx context.Context, what, key string, names ...string) ([]string, error) {
	out := make([]string, len(names))
	err := db.call(ctx, what, func(ctx context.Context, c *goredis.Client) error {
		got, err := c.HMGet(ctx, key, names...).Result()
		if err == nil && len(got) != len(out) {
			err = errReply
		}
		for i := range got {
			out[i], _ = got[i].(string)
		}
		return err
	})
	return out, err
}

func (t *Tally) open(bucket, field, sealed string) (uint64, error) {
	if sealed == "" {
		return 0, nil
	}
	plain, err := t.db.cfg.Sealer.Open([]byte(sealed), "tally", bucket, field)
	if err == nil && len(plain) != 8 {
		err = store.ErrForged
	}
	if err != nil {
		return 0, fmt.Errorf("bucket %q: %w", bucket, err)
	}
	return binary.BigEndian.Uint64(plain), nil
}

func (t *Tally) seal(bucket, field string, n uint64) string {
	return string(t.db.cfg.Sealer.Seal(binary.BigEndian.AppendUint64(nil, n), "tally", bucket, field))
}

// Add is store.Tally's. It is not atomic: if it fails in the middle, some deltas may
// have been added.
func (t *Tally) Add(ctx context.Context, bucket string, expires time.Time, deltas map[string]int64) error {
	if bucket == "" || expires.IsZero() {
		return errors.New("adding to a tally: bucket and expiry are required")
	}
	now := t.db.cfg.Now()
	if !expires.After(now) {
		return nil // it would count nothing
	}
	left := make([]string, 0, len(deltas)+1)
	left = append(left, expiryField)
	for name := range deltas {
		left = append(left, countPrefix+name)
	}
	for range tallyAttempts {
		var err error
		if left, err = t.add(ctx, bucket, now, expires, left, deltas); err != nil {
			return fmt.Errorf("adding to tally: %w", err)
		}
		if len(left) <= 1 {
			return nil
		}
	}
	return fmt.Errorf("adding to tally: %w: too many writers of bucket %q", store.ErrUnavailable, bucket)
}

// add tries to add the deltas of some fields, the first of which is the expiry's, and
// returns those that it must try again.
func (t *Tally) add(ctx context.Context, bucket string, now, expires time.Time, names []string, deltas map[string]int64) ([]string, error) {
	have, err := t.db.hash(ctx, "reading counts", bucketKey(bucket), names...)
	if err != nil {
		return nil, err
	}
	until, err := t.open(bucket, expiryField, have[0])
	if err != nil {
		return nil, err
	}
	anew, life := "", ""
	args := []any{have[0]}
	if have[0] != "" && until <= uint64(now.Unix()) {
		anew, until = "1", 0
		clear(have)
	}
	var changes []any
	if at := uint64(expires.Add(time.Second - 1).Unix()); at > until {
		life = strconv.FormatInt((expires.Sub(now) + tallyGrace).Milliseconds(), 10)
		changes = append(changes, expiryField, have[0], t.seal(bucket, expiryField, at))
	}
	for i, field := range names[1:] {
		n, err := t.open(bucket, field, have[i+1])
		if err != nil {
			return nil, err
		}
		sum := n + uint64(deltas[field[len(countPrefix):]])
		changes = append(changes, field, have[i+1], t.seal(bucket, field, sum))
	}
	args = append(append(args, anew, life), changes...)
	out, err := t.db.read(ctx, "writing counts", addScript, []string{bucketKey(bucket)}, args...)
	if err != nil {
		return nil, err
	}
	changed, ok := out.([]any)
	if !ok {
		return names, nil // another writer moved the expiry
	}
	left := []string{expiryField}
	for _, field := range changed {
		if name, ok := field.(string); ok && name != expiryField {
			left = append(left, name)
		}
	}
	return left, nil
}

// Sum is store.Tally's.
func (t *Tally) Sum(ctx context.Context, buckets ...string) (map[string]int64, error) {
	const what = "summing tally"
	sums := map[string]int64{}
	if len(buckets) == 0 {
		return sums, nil
	}
	got := make([]map[string]string, len(buckets))
	err := t.db.call(ctx, what, func(ctx context.Context, c *goredis.Client) error {
		p := c.Pipeline()
		all := make([]*goredis.MapStringStringCmd, len(buckets))
		for i, bucket := range buckets {
			all[i] = p.HGetAll(ctx, bucketKey(bucket))
		}
		_, err := p.Exec(ctx)
		for i := range all {
			got[i] = all[i].Val()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	now := uint64(t.db.cfg.Now().Unix())
	for i, bucket := range buckets {
		if err := t.sum(got[i], bucket, now, sums); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	return sums, nil
}

func (t *Tally) sum(counts map[string]string, bucket string, now uint64, sums map[string]int64) error {
	until, err := t.open(bucket, expiryField, counts[expiryField])
	if err != nil || until <= now {
		return err
	}
	for field, sealed := range counts {
		if len(field) == 0 || field[:1] != countPrefix {
			continue
		}
		n, err := t.open(bucket, field, sealed)
		if err != nil {
			return err
		}
		sums[field[1:]] += int64(n)
	}
	return nil
}
