package policy

import (
	"math/bits"
	"time"

	"github.com/writbroker/writ/policy/internal/condition"
)

func onesCount(x uint64) int { return bits.OnesCount64(x) }

// outcome of a condition.
type outcome uint8

const (
	isFalse outcome = iota
	isTrue
	isError
)

// verdict is what a condition says now, and for how long it says the same.
type verdict struct {
	outcome outcome
	until   time.Duration
	detail  int32 // index among the details: why it failed
}

var always = verdict{outcome: isTrue, until: maxDuration, detail: -1}

const maxDuration = time.Duration(1<<63 - 1)

// maxSteps bounds the boundaries of time that are looked at for one condition. Beyond it, the end
// of the window is taken to be there: a shorter life, never a longer one.
const maxSteps = 1500

// memo remembers verdicts within one decision. It is an open-addressing table; an entry counts if
// its generation is the present one.
type memo struct {
	slots      []memoSlot
	generation uint32
	used       int
}

type memoSlot struct {
	key        uint64
	generation uint32
	verdict    verdict
}

func (m *memo) reset() {
	m.used = 0
	m.generation++
	if m.generation == 0 { // it wrapped: old entries would count again
		clear(m.slots)
		m.generation = 1
	}
}

// slot finds the key's place, and says whether it is filled.
func (m *memo) slot(key uint64) (*memoSlot, bool) {
	if 2*m.used >= len(m.slots) {
		m.grow()
	}
	mask := uint64(len(m.slots) - 1)
	for i := key * 0x9e3779b97f4a7c15 >> 32; ; i++ {
		s := &m.slots[i&mask]
		if s.generation != m.generation {
			return s, false
		}
		if s.key == key {
			return s, true
		}
	}
}

func (m *memo) grow() {
	old := m.slots
	m.slots = make([]memoSlot, max(256, 2*len(old)))
	if m.generation == 0 {
		m.generation = 1
	}
	for i := range old {
		if old[i].generation == m.generation {
			s, _ := m.slot(old[i].key)
			*s = old[i]
		}
	}
}

// judge says whether a condition holds for a row (nil: for no resource) with this agent. Each
// condition is evaluated once for each combination of what it reads.
func (st *state) judge(index int32, rw *row, agent int) verdict {
	if index == noCondition {
		return always
	}
	c := st.b.conditions[index]
	key := st.key(uint64(index), c.Reads(), rw, agent)
	slot, ok := st.memo.slot(key)
	if ok {
		return slot.verdict
	}
	st.input.Subject, st.input.Agent = &st.parties[0].view, &st.parties[agent].view
	st.input.Tool, st.input.Action, st.input.Audience, st.input.Tags = nil, nil, nil, nil
	if rw != nil {
		boxed := &st.items[rw.item].tool.boxed
		st.input.Tool, st.input.Audience, st.input.Action = boxed.name, boxed.audience, boxed.actions[rw.action]
		st.input.Tags = st.parts[rw.part].tags.boxed
	}
	v := st.evaluate(c)
	if c.Reads()&condition.ReadsTime != 0 {
		v.until = st.window(c, v.outcome)
	}
	slot.key, slot.generation, slot.verdict = key, st.memo.generation, v
	st.memo.used++
	return v
}

// key is exact: two evaluations have the same key only if they read the same.
func (st *state) key(index uint64, reads condition.Reads, rw *row, agent int) uint64 {
	key := index
	if reads&condition.ReadsAgent != 0 {
		key |= uint64(agent+1) << 24
	}
	if rw == nil {
		return key
	}
	if reads&condition.ReadsTags != 0 {
		key |= uint64(st.parts[rw.part].combo+1) << 28
	}
	if reads&condition.ReadsTool != 0 {
		key |= uint64(st.items[rw.item].tool.index+1) << 38
	}
	if reads&condition.ReadsAction != 0 {
		key |= uint64(rw.action+1) << 57
	}
	return key
}

func (st *state) evaluate(c *condition.Condition) verdict {
	holds, err := c.Eval(&st.input)
	switch {
	case err != nil:
		st.details = append(st.details, c.String()+": "+err.Error())
		return verdict{isError, maxDuration, int32(len(st.details) - 1)}
	case holds:
		return verdict{isTrue, maxDuration, -1}
	}
	return verdict{isFalse, maxDuration, -1}
}

// window is how long the outcome stays as it is, as far as it matters to this decision. It leaves
// the input's time as it was.
func (st *state) window(c *condition.Condition, now outcome) time.Duration {
	defer st.input.SetTime(st.r.Time)
	at := st.r.Time
	for range maxSteps {
		next, ok := c.Next(at)
		if !ok || next.Sub(st.r.Time) >= st.limit {
			return maxDuration
		}
		st.input.SetTime(next)
		holds, err := c.Eval(&st.input)
		then := isFalse
		if err != nil {
			then = isError
		} else if holds {
			then = isTrue
		}
		if then != now {
			return next.Sub(st.r.Time)
		}
		at = next
	}
	return at.Sub(st.r.Time)
}
