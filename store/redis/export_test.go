package redis

import (
	"context"
	"net"
)

// SetDial puts something between the client and the network.
func (c *Config) SetDial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	c.dial = dial
}

// Keys of a log: its stream, its lineages and its trim notes.
func Keys(log string) (stream, lineages, notes string) {
	l := newLog(nil, log)
	return l.keys[1], l.keys[2], l.keys[3]
}

// CellKey is where a cell lies, SetKey the name of the data set.
func CellKey(name string) string { return cellKey(name) }

const SetKey = setKey

// Room is how many indexes lie before the first lineage.
const Room = room

// DecodeItems reads an answer of XRANGE: the entries' indexes and bytes.
func DecodeItems(raw []byte) (indexes []uint64, data [][]byte, err error) {
	items, err := decodeItems(raw)
	for _, it := range items {
		indexes, data = append(indexes, it.index), append(data, it.data)
	}
	return indexes, data, err
}

// Accept judges a server's version and eviction policy.
func Accept(version, policy string) error { return (&DB{}).accept(version, policy) }
