package app_test

import (
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/client"
)

// attack is something that who can write to Redis does there, and the alarms that it raises.
// After some of them the log cannot be read until somebody removes it.
type attack struct {
	name   string
	do     func(t *testing.T, s *siege)
	alarms []string
	stuck  bool
}

// forgedCell is a cell that is sealed as it must be, under another key.
func (s *siege) forgedCell(name string, version uint64, value string) string {
	raw := binary.BigEndian.AppendUint64(nil, version)
	return string(append(raw, s.sealer.Seal([]byte(value), "cell", name, strconv.FormatUint(version, 10))...))
}

func (s *siege) cells(t *testing.T) []string {
	t.Helper()
	names, err := s.redis.Client().Keys(t.Context(), "{writ}:cell:*").Result()
	must(t, err)
	return names
}

func (s *siege) records(t *testing.T) []goredis.XMessage {
	t.Helper()
	list, err := s.redis.Client().XRange(t.Context(), logStream, "-", "+").Result()
	must(t, err)
	if len(list) < 4 {
		t.Fatalf("the log has %d records", len(list))
	}
	return list
}

// append puts a record after the last one.
func (s *siege) append(t *testing.T, fields map[string]any) {
	t.Helper()
	list := s.records(t)
	head, _, _ := strings.Cut(list[len(list)-1].ID, "-")
	n, err := strconv.Atoi(head)
	must(t, err)
	must(t, s.redis.Client().XAdd(t.Context(), &goredis.XAddArgs{Stream: logStream, ID: strconv.Itoa(n+1) + "-0", Values: fields}).Err())
}

// plants write what nobody but a broker may write.
func plants() []attack {
	return []attack{
		{name: "a key ring", alarms: []string{"key_ring"}, do: func(t *testing.T, s *siege) {
			s.redis.Do(t, "SET", ringCell, s.forgedCell("signing-keys", 99, s.dead["ring"]))
		}},
		{name: "a record", stuck: true, alarms: []string{"revocation_log"}, do: func(t *testing.T, s *siege) {
			list := s.records(t)
			old, _ := list[len(list)-1].Values["r"].(string)
			s.append(t, map[string]any{"r": string(s.sealer.Seal([]byte(old[:len(old)-32]), "record", "revocations"))})
		}},
		{name: "every cell", alarms: []string{"key_ring", "replica_roll", "audit_anchor", "verifier_list"}, do: func(t *testing.T, s *siege) {
			for _, key := range s.cells(t) {
				name := strings.TrimPrefix(key, "{writ}:cell:")
				s.redis.Do(t, "SET", key, s.forgedCell(name, 1<<40, `{"version":9}`))
			}
		}},
		{name: "a bundle and a ring", alarms: []string{"key_ring"}, do: func(t *testing.T, s *siege) {
			for _, name := range []string{"bundle", "policy", "policy/current", "bundle/roles.yaml"} {
				s.redis.Do(t, "SET", "{writ}:cell:"+name, s.forgedCell(name, 1, "kind: roles"))
			}
			s.redis.Do(t, "SET", ringCell, s.forgedCell("signing-keys", 1, s.dead["ring"]))
		}},
	}
}

// swaps put what is authentic where it does not belong.
func swaps() []attack {
	return []attack{
		{name: "cells under other names", alarms: []string{"key_ring"}, do: func(t *testing.T, s *siege) {
			names := s.cells(t)
			dumps := s.dump(t)
			for i, name := range names {
				s.put(t, name, dumps[names[(i+1)%len(names)]])
			}
		}},
		{name: "records moved", stuck: true, alarms: []string{"revocation_log"}, do: func(t *testing.T, s *siege) {
			list := s.records(t)
			last := len(list) - 1
			list[last].Values, list[last-1].Values = list[last-1].Values, list[last].Values
			tx := s.redis.Client().TxPipeline() // a broker that saw it halfway would begin to put it right
			tx.Del(t.Context(), logStream)
			for _, m := range list {
				tx.XAdd(t.Context(), &goredis.XAddArgs{Stream: logStream, ID: m.ID, Values: m.Values})
			}
			_, err := tx.Exec(t.Context())
			must(t, err)
		}},
	}
}

// replays give again what once was right.
func replays() []attack {
	return []attack{
		{name: "the key ring before the key leaked", alarms: []string{"key_ring"}, do: func(t *testing.T, s *siege) {
			s.put(t, ringCell, s.begun[ringCell])
		}},
		{name: "an old record at the end", stuck: true, alarms: []string{"revocation_log"}, do: func(t *testing.T, s *siege) {
			s.append(t, map[string]any{"r": s.records(t)[1].Values["r"]})
		}},
		{name: "the log before anything was revoked", alarms: []string{"revocation_log"}, do: func(t *testing.T, s *siege) {
			for name, data := range s.begun {
				if strings.Contains(name, "revocations") {
					s.put(t, name, data)
				}
			}
		}},
	}
}

// rollbacks make keys what they were.
func rollbacks() []attack {
	return []attack{
		{name: "each key alone", alarms: []string{"key_ring", "revocation_log"}, do: func(t *testing.T, s *siege) {
			for name, data := range s.begun {
				s.put(t, name, data)
				time.Sleep(100 * time.Millisecond)
			}
		}},
		{name: "everything", alarms: []string{"key_ring", "revocation_log"}, do: func(t *testing.T, s *siege) {
			s.putAll(t, s.begun)
		}},
	}
}

func deletes() []attack {
	return []attack{
		{name: "each key alone", alarms: []string{"key_ring", "revocation_log"}, do: func(t *testing.T, s *siege) {
			for name := range s.dump(t) {
				s.redis.Do(t, "DEL", name)
				time.Sleep(100 * time.Millisecond)
			}
		}},
		{name: "everything", alarms: []string{"key_ring", "revocation_log"}, do: func(t *testing.T, s *siege) {
			s.redis.FlushAll(t)
		}},
	}
}

func TestSiegePlant(t *testing.T)    { besiege(t, plants()) }
func TestSiegeSwap(t *testing.T)     { besiege(t, swaps()) }
func TestSiegeReplay(t *testing.T)   { besiege(t, replays()) }
func TestSiegeRollBack(t *testing.T) { besiege(t, rollbacks()) }
func TestSiegeDelete(t *testing.T)   { besiege(t, deletes()) }

// besiege plays attacks on brokers that run, and on brokers that are down and start then. Whatever
// is done to Redis, no verifier accepts what it must not, no key is published or signs that must
// not, no rule is forgotten and no quarantine lifted; each raises its alarm; and afterwards
// all is as before.
func besiege(t *testing.T, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.name+" to running", func(t *testing.T) {
			s := newSiege(t)
			a.do(t, s)
			s.withstands(t, a)
		})
		t.Run(a.name+" to stopped", func(t *testing.T) {
			s := newSiege(t)
			for _, r := range s.sides {
				r.end()
			}
			a.do(t, s)
			for _, r := range s.sides {
				if err := s.tryRaise(t, r); err != nil {
					t.Errorf("replica %s does not start: %v", r.name, err)
				}
			}
			s.withstands(t, a)
		})
	}
}

func (s *siege) withstands(t *testing.T, a attack) {
	t.Helper()
	for _, what := range a.alarms {
		s.alarmed(t, what, func() { s.holds(t) })
	}
	if t.Failed() {
		return
	}
	if a.stuck {
		// Nobody trusts a log that somebody else has written to: soon nothing is issued or accepted
		// any more. Who removes it has lost nothing.
		eventually(t, "nothing is issued while the log cannot be read", func() bool {
			s.holds(t)
			_, _, err := s.issue(t.Context(), s.agent(t), "analyst", "warehouse:read:sales/eu/*", "task-5")
			return err != nil
		})
		s.redis.Do(t, "DEL", logStream)
	}
	for _, r := range s.sides {
		(&world{admin: r.admin}).ready(t, r.log)
	}
	eventually(t, "tokens are issued and accepted again", func() bool {
		raw, _, err := s.issue(t.Context(), s.agent(t), "analyst", "warehouse:read:sales/eu/*", "task-4")
		if err != nil {
			return false
		}
		for _, v := range s.verifiers {
			if _, err := v.Verify(t.Context(), raw); err != nil {
				return false
			}
		}
		return true
	})
	s.holds(t)
	for _, r := range s.sides {
		for _, id := range s.rules {
			// It may have to read the log once more first: that is 503, and nothing is forgotten.
			var err error
			eventually(t, "replica "+r.name+" says what it knows", func() bool {
				_, err = s.security(t, r).Rule(t.Context(), id)
				var refused *client.ResponseError
				return !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable
			})
			if err != nil {
				t.Errorf("replica %s on rule %s: %v", r.name, id, err)
			}
		}
	}
}
