package redis_test

import (
	"slices"
	"testing"

	"github.com/writbroker/writ/store"
	"github.com/writbroker/writ/store/redis"
)

// Where a lineage lies is a hint. Whoever reads on from a position finds it without one, and
// with one that is wrong.
func TestLineageWhosePlaceIsNotKnown(t *testing.T) {
	t.Parallel()
	b := alone(t)
	l, at := opened(t, b.open(t))
	add(t, l, at, "a", "b")
	_, err := l.Open(t.Context(), tail(t, l), entries("c", "d"))
	must(t, err)
	_, err = l.Open(t.Context(), tail(t, l), entries("e"))
	must(t, err)
	all, err := l.Read(t.Context(), store.Position{}, 100)
	must(t, err)
	_, lineages, _ := redis.Keys(logName)
	fields, ok := b.primary(t).Do(t, "HKEYS", lineages).([]any)
	fields = slices.DeleteFunc(fields, func(f any) bool { return f == "cleared" })
	if !ok || len(fields) != 3 {
		t.Fatalf("places of lineages: %q", fields)
	}
	for name, lose := range map[string]func(field any){
		"wrong":   func(field any) { b.primary(t).Do(t, "HSET", lineages, field, "1 1") },
		"missing": func(field any) { b.primary(t).Do(t, "HDEL", lineages, field) },
	} {
		for _, f := range fields {
			lose(f)
		}
		for i, r := range all {
			rest, err := b.open(t).Log(logName).Read(t.Context(), r.Position, 100)
			if err != nil || len(rest) != len(all)-i-1 {
				t.Errorf("%s: after %v come %d records: %v", name, r.Position, len(rest), err)
			}
		}
	}
	// A log that an operator has removed is opened anew.
	stream, _, _ := redis.Keys(logName)
	b.primary(t).Do(t, "DEL", stream)
	fresh := b.open(t).Log(logName)
	_, err = fresh.Open(t.Context(), tail(t, fresh), entries("f"))
	must(t, err)
	wantLog(t, fresh, "f | ")
	_, err = l.Read(t.Context(), store.Position{Lineage: 1, Seq: 1}, 100)
	wantErr(t, err, store.ErrUnknownPosition)
}
