package store

import "errors"

// Chain verifies, or makes, a run of stored records. It is the part of a log that
// every adapter shares: the adapter keeps bytes in order, the chain decides what
// they are worth. It starts before the first record of a log; Resume starts it
// elsewhere. After an error it stays where it was. Not safe for concurrent use.
type Chain struct {
	sealer *Sealer
	log    string
	at     Position
	mac    MAC
}

// NewChain starts a chain before the first record of a log.
func NewChain(s *Sealer, log string) *Chain {
	return &Chain{sealer: s, log: log, mac: s.mac("genesis", nil, log)}
}

// Position is that of the last record that was verified, made or skipped.
func (c *Chain) Position() Position { return c.at }

// MAC is that of the last record that was verified, made or skipped.
func (c *Chain) MAC() MAC { return c.mac }

// Resume verifies one stored record by itself and goes on after it.
func (c *Chain) Resume(data []byte) (Record, error) {
	r, _, mac, err := c.sealer.openRecord(c.log, data)
	if err != nil {
		return Record{}, c.fault(err)
	}
	c.at, c.mac = r.Position, mac
	return r, nil
}

// ResumeNote verifies a trim note by itself and goes on after what it accounts
// for.
func (c *Chain) ResumeNote(data []byte) (TrimNote, error) {
	n, err := c.sealer.OpenNote(c.log, data)
	if err != nil {
		return n, c.fault(err)
	}
	c.at, c.mac = n.Last, n.LastMAC
	return n, nil
}

// Next verifies the stored record that directly follows: ErrForged, ErrGap or
// ErrOrder if it does not.
func (c *Chain) Next(data []byte) (Record, error) {
	r, prev, mac, err := c.sealer.openRecord(c.log, data)
	if err != nil {
		return Record{}, c.fault(err)
	}
	if prev != c.mac {
		if r.Lineage == c.at.Lineage && r.Seq <= c.at.Seq {
			return Record{}, c.fault(ErrOrder)
		}
		return Record{}, c.fault(ErrGap)
	}
	follows := r.Lineage == c.at.Lineage && r.Seq == c.at.Seq+1
	begins := r.Lineage != c.at.Lineage && r.Seq == 1
	if r.Lineage == 0 || (!follows && !begins) {
		return Record{}, c.fault(ErrOrder)
	}
	c.at, c.mac = r.Position, mac
	return r, nil
}

// Skip verifies the trim note that directly follows and goes on after what it
// accounts for.
func (c *Chain) Skip(data []byte) (TrimNote, error) {
	n, err := c.sealer.OpenNote(c.log, data)
	if err != nil {
		return n, c.fault(err)
	}
	if n.AfterMAC != c.mac || n.After != c.at {
		return n, c.fault(ErrGap)
	}
	c.at, c.mac = n.Last, n.LastMAC
	return n, nil
}

// Extend makes the stored form of the entry that directly follows in the same
// lineage.
func (c *Chain) Extend(e Entry) []byte {
	return c.add(&Record{Position: Position{c.at.Lineage, c.at.Seq + 1}, Entry: e})
}

// Begin makes the stored forms of a new lineage: the restored entries, then the
// marker.
func (c *Chain) Begin(lineage Lineage, restore []Entry, m Marker) [][]byte {
	out := make([][]byte, 0, len(restore)+1)
	for i, e := range restore {
		out = append(out, c.add(&Record{Position: Position{lineage, uint64(i) + 1}, Entry: e}))
	}
	last := Position{lineage, uint64(len(restore)) + 1}
	return append(out, c.add(&Record{Position: last, Marker: true, Entry: Entry{Payload: EncodeMarker(m)}}))
}

func (c *Chain) add(r *Record) []byte {
	data, mac := c.sealer.sealRecord(c.log, c.mac, r)
	c.at, c.mac = r.Position, mac
	return data
}

func (c *Chain) fault(err error) error {
	return &IntegrityError{Log: c.log, After: c.at, Err: err}
}

// AlarmKey is the attribute that makes an error in the log an alarm: somebody other than a holder
// of the key has changed the store, or it went back. Its value says of what, in a word that
// is the same each time. cmd/writ counts such records.
const AlarmKey = "alarm"

// IsIntegrity reports whether an error says that the store's content is wrong, as
// opposed to unreachable or changed by another writer: it is to alarm.
func IsIntegrity(err error) bool {
	return errors.Is(err, ErrForged) || errors.Is(err, ErrGap) ||
		errors.Is(err, ErrOrder) || errors.Is(err, ErrRollback)
}
