package fleet

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/writbroker/writ/revocation"
	"github.com/writbroker/writ/token"
)

// ErrMessage: a replica's message is not what this version writes.
var ErrMessage = errors.New("message of another replica is malformed")

const (
	progressVersion = 2
	// maxVerifiers and maxForwarded keep a message within store.MaxValue; a replica that
	// has more tells of the first.
	maxVerifiers = 20_000
	maxForwarded = 5_000
	maxID        = 2048
	maxLocals    = 64
	maxKeys      = 32
	maxKeyID     = 64
)

// appendProgress is compact, since it is written often: the few distinct positions and sets
// of keys once, then three small numbers a verifier.
func appendProgress(dst []byte, p *revocation.Progress) []byte {
	dst = binary.AppendUvarint(append(dst, progressVersion), p.Roster)
	positions, sets := newTable[token.Rev](), newTable[string]()
	var body []byte
	var last []string // verifiers that come one after the other mostly hold the same
	var lastSet uint64
	reached := func(r revocation.Reached) {
		body = binary.AppendUvarint(body, positions.number(r.Position))
		if !slices.Equal(r.Keys, last) {
			last, lastSet = r.Keys, sets.number(string(encodeKeys(r.Keys)))
		}
		body = binary.AppendUvarint(body, lastSet)
		body = binary.AppendUvarint(body, encodeAgo(r.Ago))
	}
	body = binary.AppendUvarint(body, uint64(len(p.Reached)))
	for _, r := range p.Reached {
		reached(r)
	}
	forwarded := p.Forwarded[:min(len(p.Forwarded), maxForwarded)]
	body = binary.AppendUvarint(body, uint64(len(forwarded)))
	for _, f := range forwarded {
		body = appendText(body, f.Verifier)
		reached(f.Reached)
		body = binary.AppendUvarint(body, uint64(len(f.Local)))
		for _, id := range f.Local {
			body = appendText(body, id)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(positions.values)))
	for _, r := range positions.values {
		dst = binary.AppendUvarint(binary.BigEndian.AppendUint64(dst, r.Lineage), r.Seq)
	}
	dst = binary.AppendUvarint(dst, uint64(len(sets.values)))
	for _, s := range sets.values {
		dst = append(dst, s...)
	}
	return append(dst, body...)
}

// table numbers distinct values from 1, in the order in which they come; the zero value is 0.
type table[T comparable] struct {
	numbers map[T]uint64
	values  []T
}

func newTable[T comparable]() *table[T] { return &table[T]{numbers: map[T]uint64{}} }

func (t *table[T]) number(v T) uint64 {
	var zero T
	if v == zero {
		return 0
	}
	n, ok := t.numbers[v]
	if !ok {
		t.values = append(t.values, v)
		n = uint64(len(t.values))
		t.numbers[v] = n
	}
	return n
}

// encodeKeys is a set of keys as it stands in the message; an empty one does not.
func encodeKeys(kids []string) []byte {
	kids = kids[:min(len(kids), maxKeys)]
	if len(kids) == 0 {
		return nil
	}
	out := binary.AppendUvarint(nil, uint64(len(kids)))
	for _, kid := range kids {
		out = appendText(out, kid)
	}
	return out
}

// encodeAgo is 0 where nothing was acknowledged yet, else the milliseconds and one.
func encodeAgo(d time.Duration) uint64 {
	if d < 0 {
		return 0
	}
	return 1 + uint64(d.Milliseconds())
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// reader walks a message; after a fault everything is zero.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) number(most uint64) uint64 {
	n, w := binary.Uvarint(r.rest)
	if r.bad || w <= 0 || n > most {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[w:]
	return n
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, n)
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

// list is a number of things of at least one byte each.
func (r *reader) list(most int) int { return int(r.number(uint64(min(most, len(r.rest))))) }

func (r *reader) text(most uint64) string { return string(r.take(int(r.number(most)))) }

// tables are what the numbers of a message stand for.
type tables struct {
	positions []token.Rev
	sets      [][]string
}

func (r *reader) tables() (t tables) {
	t.positions = make([]token.Rev, r.list(maxVerifiers+maxForwarded))
	for i := range t.positions {
		t.positions[i] = token.Rev{Lineage: binary.BigEndian.Uint64(r.take(8)), Seq: r.number(1 << 63)}
	}
	t.sets = make([][]string, r.list(maxVerifiers+maxForwarded))
	for i := range t.sets {
		for range r.list(maxKeys) {
			t.sets[i] = append(t.sets[i], r.text(maxKeyID))
		}
	}
	return t
}

func (r *reader) reached(t tables) revocation.Reached {
	out := revocation.Reached{Ago: -1}
	if n := r.number(uint64(len(t.positions))); n > 0 {
		out.Position = t.positions[n-1]
	}
	if n := r.number(uint64(len(t.sets))); n > 0 {
		out.Keys = t.sets[n-1]
	}
	const longAgo = uint64(400 * 24 * time.Hour / time.Millisecond)
	if n := r.number(1 << 62); n > 0 {
		out.Ago = time.Duration(min(n-1, longAgo)) * time.Millisecond
	}
	return out
}

func decodeProgress(data []byte) (revocation.Progress, error) {
	r := &reader{rest: data}
	if r.take(1)[0] != progressVersion {
		return revocation.Progress{}, fmt.Errorf("%w: unknown version", ErrMessage)
	}
	p := revocation.Progress{Roster: r.number(1 << 62)}
	t := r.tables()
	p.Reached = make([]revocation.Reached, r.list(maxVerifiers))
	for i := range p.Reached {
		p.Reached[i] = r.reached(t)
	}
	for range r.list(maxForwarded) {
		f := revocation.Forwarded{Verifier: r.text(maxID), Reached: r.reached(t)}
		for range r.list(maxLocals) {
			f.Local = append(f.Local, r.text(maxID))
		}
		p.Forwarded = append(p.Forwarded, f)
	}
	if r.bad || len(r.rest) > 0 {
		return revocation.Progress{}, ErrMessage
	}
	return p, nil
}

// roster is revocation.Roster as it is written.
type roster struct {
	Version   uint64   `json:"version"`
	Verifiers []member `json:"verifiers"`
}

type member struct {
	ID        string    `json:"id"`
	Name      string    `json:"name,omitempty"`
	Principal string    `json:"principal,omitempty"`
	Connected time.Time `json:"connected_at"` // by the clock of the replica, for people
}

func encodeRoster(in *revocation.Roster) ([]byte, error) {
	out := roster{Version: in.Version, Verifiers: make([]member, 0, len(in.Verifiers))}
	for _, v := range in.Verifiers[:min(len(in.Verifiers), maxVerifiers)] {
		out.Verifiers = append(out.Verifiers, member{v.ID, v.Name, v.Principal, v.Connected})
	}
	return json.Marshal(out)
}

func decodeRoster(data []byte) (revocation.Roster, error) {
	var in roster
	if err := json.Unmarshal(data, &in); err != nil {
		return revocation.Roster{}, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	out := revocation.Roster{Version: in.Version}
	for _, m := range in.Verifiers {
		out.Verifiers = append(out.Verifiers, revocation.VerifierState{ID: m.ID, Name: m.Name, Principal: m.Principal, Connected: m.Connected})
	}
	return out, nil
}
