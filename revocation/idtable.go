package revocation

// A ref names a rule: its reference in an arena, and in which.
type ref struct {
	index uint32
	token bool
}

func (r ref) pack() uint32 {
	if r.token {
		return r.index<<1 | 1
	}
	return r.index << 1
}

func unpackRef(v uint32) ref { return ref{index: v >> 1, token: v&1 == 1} }

// idTable finds rules by the hash of their id. It is the writer's alone.
type idTable struct {
	slots []uint32 // packed refs; 0 is free
	used  int
}

func newIDTable(capacity int) idTable {
	n := minSlots
	for n*3/4 <= capacity {
		n *= 2
	}
	return idTable{slots: make([]uint32, n)}
}

func (t *idTable) add(h uint64, r ref, hashOf func(ref) uint64) {
	if t.used >= len(t.slots)*3/4 {
		grown := newIDTable(t.used + t.used/4)
		for _, v := range t.slots {
			if v != 0 {
				grown.put(hashOf(unpackRef(v)), v)
			}
		}
		*t = grown
	}
	t.put(h, r.pack())
}

func (t *idTable) put(h uint64, v uint32) {
	mask := uint64(len(t.slots) - 1)
	i := h & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = v
	t.used++
}

// remove closes the gap, so that the table needs no tombstones.
func (t *idTable) remove(h uint64, r ref, hashOf func(ref) uint64) {
	mask := uint64(len(t.slots) - 1)
	i := h & mask
	for v := r.pack(); t.slots[i] != v; i = (i + 1) & mask {
		if t.slots[i] == 0 {
			return
		}
	}
	t.used--
	for j := (i + 1) & mask; t.slots[j] != 0; j = (j + 1) & mask {
		home := hashOf(unpackRef(t.slots[j])) & mask
		if (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = 0
}

// candidates yields the refs that may have been added under a hash.
func (t *idTable) candidates(h uint64) func(yield func(ref) bool) {
	return func(yield func(ref) bool) {
		mask := uint64(len(t.slots) - 1)
		for i := h & mask; t.slots[i] != 0; i = (i + 1) & mask {
			if !yield(unpackRef(t.slots[i])) {
				return
			}
		}
	}
}
