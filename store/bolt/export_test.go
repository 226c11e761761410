package bolt

import (
	"encoding/binary"

	bbolt "go.etcd.io/bbolt"
)

// SetUpdate replaces how transactions are committed; it returns the way before.
func (db *DB) SetUpdate(fn func(func(*bbolt.Tx) error) error) (before func(func(*bbolt.Tx) error) error) {
	before, db.update = db.update, fn
	return before
}

// BesideRead has fn run in the next read, after its transaction began and before it looks.
func (db *DB) BesideRead(fn func()) {
	db.view = func(read func(*bbolt.Tx) error) error {
		db.view = db.file.View
		return db.file.View(func(tx *bbolt.Tx) error {
			fn()
			return read(tx)
		})
	}
}

// EditLog lets a test change the stored bytes of a log. A note begins with the
// index that its run ends with.
func (db *DB) EditLog(name string, edit func(records, notes map[uint64][]byte)) error {
	return db.file.Update(func(tx *bbolt.Tx) error {
		root, err := tx.CreateBucketIfNotExists([]byte("log:" + name))
		if err != nil {
			return err
		}
		maps := [2]map[uint64][]byte{{}, {}}
		for i, bucket := range bucketNames[:2] {
			b, err := root.CreateBucketIfNotExists(bucket)
			if err != nil {
				return err
			}
			err = b.ForEach(func(k, v []byte) error {
				maps[i][binary.BigEndian.Uint64(k)] = append([]byte(nil), v...)
				return nil
			})
			if err != nil {
				return err
			}
		}
		edit(maps[0], maps[1])
		for i, bucket := range bucketNames[:2] {
			count := root.Bucket(bucket).Sequence()
			if err := root.DeleteBucket(bucket); err != nil {
				return err
			}
			b, err := root.CreateBucket(bucket)
			if err != nil {
				return err
			}
			if err := b.SetSequence(count); err != nil {
				return err
			}
			for k, v := range maps[i] {
				if err := b.Put(key(k), v); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// EditCell lets a test change the stored bytes of a cell.
func (db *DB) EditCell(name string, edit func([]byte) []byte) error {
	return db.file.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(cellsBucket)
		if err != nil {
			return err
		}
		raw := edit(append([]byte(nil), b.Get([]byte(name))...))
		if raw == nil {
			return b.Delete([]byte(name))
		}
		return b.Put([]byte(name), raw)
	})
}
