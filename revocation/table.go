package revocation

import "sync/atomic"

// table is a hash table from 64-bit hashes to references, for one writer and any
// number of readers that never block. It holds no keys: whoever looks up checks
// what a reference stands for. In front stands a Bloom filter of one byte a slot,
// so that a miss, the usual answer, mostly costs one load of a small array.
type table struct {
	slots []atomic.Uint32 // 0 is free
	bloom []atomic.Uint64
	used  int // slots that are not free, tombstones included; the writer's
}

const (
	tombstone    = ^uint32(0)
	minSlots     = 64
	slotsPerWord = 8
)

func newTable(slots int) *table {
	return &table{
		slots: make([]atomic.Uint32, slots),
		bloom: make([]atomic.Uint64, slots/slotsPerWord),
	}
}

// tableFor makes a table that takes n references before it must grow.
func tableFor(n int) *table {
	slots := minSlots
	for slots*3/4 <= n {
		slots *= 2
	}
	return newTable(slots)
}

func (t *table) full() bool { return t.used >= len(t.slots)*3/4 }

// mayHold reports false only if no reference was added under the hash.
func (t *table) mayHold(h uint64) bool {
	bits := bloomBits(h)
	return t.bloom[(h>>24)&uint64(len(t.bloom)-1)].Load()&bits == bits
}

func bloomBits(h uint64) uint64 {
	return 1<<(h>>58) | 1<<(h>>52&63) | 1<<(h>>46&63)
}

// add inserts a reference. The table must not be full.
func (t *table) add(h uint64, ref uint32) {
	word := &t.bloom[(h>>24)&uint64(len(t.bloom)-1)]
	word.Store(word.Load() | bloomBits(h)) // before the slot: a reader asks the filter first
	mask := uint64(len(t.slots) - 1)
	i := h & mask
	for t.slots[i].Load() != 0 {
		i = (i + 1) & mask
	}
	t.slots[i].Store(ref)
	t.used++
}

// remove forgets a reference that was added under the hash.
func (t *table) remove(h uint64, ref uint32) {
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		switch t.slots[i].Load() {
		case ref:
			t.slots[i].Store(tombstone)
			return
		case 0:
			return
		}
	}
}

// probe walks the references that may have been added under a hash.
type probe struct {
	t    *table
	at   uint64
	mask uint64
}

func (t *table) probe(h uint64) probe {
	mask := uint64(len(t.slots) - 1)
	return probe{t: t, at: h & mask, mask: mask}
}

// next returns the next reference, 0 at the end.
func (p *probe) next() uint32 {
	for {
		ref := p.t.slots[p.at].Load()
		p.at = (p.at + 1) & p.mask
		if ref != tombstone {
			return ref
		}
	}
}

// arena is a list that grows without moving what it holds, for one writer and any
// number of readers. References are indexes plus one, so that 0 is none.
type arena[T any] struct {
	chunks atomic.Pointer[[]*[chunkSize]T]
	n      atomic.Uint32
}

const chunkSize = 1 << 10

// at returns what a reference stands for.
func (a *arena[T]) at(ref uint32) *T {
	i := ref - 1
	return &(*a.chunks.Load())[i/chunkSize][i%chunkSize]
}

// add makes room for one more; readers may follow the reference once the writer
// has published it.
func (a *arena[T]) add() (ref uint32, item *T) {
	i := a.n.Load()
	if i%chunkSize == 0 {
		var chunks []*[chunkSize]T
		if old := a.chunks.Load(); old != nil {
			chunks = *old
		}
		chunks = append(chunks, new([chunkSize]T))
		a.chunks.Store(&chunks)
	}
	a.n.Store(i + 1)
	return i + 1, a.at(i + 1)
}

func (a *arena[T]) len() uint32 { return a.n.Load() }
