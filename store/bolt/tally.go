package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	bbolt "go.etcd.io/bbolt"
)

// Tally are the counts of the file: in bucket "tally" a bucket for each bucket,
// with each count, and the expiry under the empty key, sealed for its place;
// "tally-expiry" orders the buckets by when they fall away.
type Tally struct{ db *DB }

var (
	tallyBucket  = []byte("tally")
	expiryBucket = []byte("tally-expiry")
	expiryKey    = []byte{0}
)

// sweepBatch is how many expired buckets an Add removes at most.
const sweepBatch = 8

// countKey is the key of a count; the prefix keeps it apart from the expiry's.
func countKey(name string) []byte { return append([]byte{1}, name...) }

func (t *Tally) value(b *bbolt.Bucket, bucket string, k []byte) (uint64, error) {
	data := b.Get(k)
	if data == nil {
		return 0, nil
	}
	plain, err := t.db.sealer.Open(data, "tally", bucket, string(k))
	if err != nil {
		return 0, err
	}
	return number(plain), nil
}

func (t *Tally) set(b *bbolt.Bucket, bucket string, k []byte, n uint64) error {
	return b.Put(k, t.db.sealer.Seal(key(n), "tally", bucket, string(k)))
}

// Add is store.Tally's.
func (t *Tally) Add(ctx context.Context, bucket string, expires time.Time, deltas map[string]int64) error {
	if bucket == "" || expires.IsZero() {
		return errors.New("adding to a tally: bucket and expiry are required")
	}
	if !expires.After(t.db.now()) {
		return nil // it would count nothing
	}
	return t.db.write(ctx, "adding to tally", func(tx *bbolt.Tx) error {
		all, err := tx.CreateBucketIfNotExists(tallyBucket)
		if err != nil {
			return err
		}
		order, err := tx.CreateBucketIfNotExists(expiryBucket)
		if err != nil {
			return err
		}
		if err := sweep(all, order, t.db.now()); err != nil {
			return err
		}
		b, err := all.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		if err := t.extend(b, order, bucket, expires); err != nil {
			return err
		}
		for name, delta := range deltas {
			n, err := t.value(b, bucket, countKey(name))
			if err != nil {
				return fmt.Errorf("count %q: %w", name, err)
			}
			if err := t.set(b, bucket, countKey(name), n+uint64(delta)); err != nil {
				return err
			}
		}
		return nil
	})
}

// extend moves the bucket's expiry to a later time.
func (t *Tally) extend(b, order *bbolt.Bucket, bucket string, expires time.Time) error {
	old, err := t.value(b, bucket, expiryKey)
	if err != nil {
		return err
	}
	at := uint64(expires.Add(time.Second - 1).Unix())
	if at <= old {
		return nil
	}
	if err := order.Delete(append(key(old), bucket...)); err != nil {
		return err
	}
	if err := order.Put(append(key(at), bucket...), nil); err != nil {
		return err
	}
	return t.set(b, bucket, expiryKey, at)
}

func sweep(all, order *bbolt.Bucket, now time.Time) error {
	var spent [][]byte
	limit := key(uint64(now.Unix()))
	c := order.Cursor()
	for k, _ := c.First(); len(k) >= 8 && len(spent) < sweepBatch && bytes.Compare(k[:8], limit) <= 0; k, _ = c.Next() {
		spent = append(spent, bytes.Clone(k))
	}
	for _, k := range spent {
		if all.Bucket(k[8:]) != nil {
			if err := all.DeleteBucket(k[8:]); err != nil {
				return err
			}
		}
		if err := order.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Sum is store.Tally's.
func (t *Tally) Sum(ctx context.Context, buckets ...string) (map[string]int64, error) {
	sums := map[string]int64{}
	now := uint64(t.db.now().Unix())
	err := t.db.read(ctx, "summing tally", func(tx *bbolt.Tx) error {
		all := tx.Bucket(tallyBucket)
		if all == nil {
			return nil
		}
		for _, bucket := range buckets {
			b := all.Bucket([]byte(bucket))
			if b == nil {
				continue
			}
			if err := t.sum(b, bucket, now, sums); err != nil {
				return fmt.Errorf("bucket %q: %w", bucket, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sums, nil
}

func (t *Tally) sum(b *bbolt.Bucket, bucket string, now uint64, sums map[string]int64) error {
	expires, err := t.value(b, bucket, expiryKey)
	if err != nil || expires <= now {
		return err
	}
	return b.ForEach(func(k, _ []byte) error {
		if len(k) == 0 || k[0] != 1 {
			return nil
		}
		n, err := t.value(b, bucket, k)
		sums[string(k[1:])] += int64(n)
		return err
	})
}
