package keys_test

import (
	"testing"
	"time"

	"github.com/writbroker/writ/keys"
)

// Part 7: `writ keys rotate` alone is planned, with no refusals. docs/runbook.md says to ask for two.
func TestAPlannedRotationDoesNotUseAKeyThatVerifiersLack(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	r := f.replica(t, t.Context(), c)
	c.add(2 * time.Minute)
	if _, err := r.Rotate(t.Context()); err != nil { // both keys are as old as the ring: fine
		t.Fatal(err)
	}
	c.add(time.Second)
	_, err := r.Rotate(t.Context())
	for _, k := range r.List() {
		if k.Stage == keys.StageActive && c.Now().Before(k.Published.Add(schedule().JWKSMaxAge)) && k.Published.After(epoch) {
			t.Errorf("%s signs %v after it was published, and verifiers keep a set without it for %v (%v)", k.ID, c.Now().Sub(k.Published), schedule().JWKSMaxAge, err)
		}
	}
}

// A write that is late by less than a poll is not made good, and no margin has room for it.
func TestAWriteThatCameALittleLate(t *testing.T) {
	f, c := newFleet(t), &clock{now: epoch}
	cfg := f.config(c)
	slow := &slowCell{cell: f.cell, clock: c}
	cfg.Cell = slow
	r, err := keys.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	slow.by = 7 * time.Second
	if err := r.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, k := range r.List() {
		sched := schedule()
		if least := c.Now().Add(sched.MaxTTL + sched.MaxLag + 5*sched.Skew); k.Stage == keys.StageRetired && k.DropAfter.Before(least) {
			t.Errorf("the retired key goes %v too early", least.Sub(k.DropAfter))
		}
	}
}
