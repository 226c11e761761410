package roll

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/writbroker/writ/store"
)

// ErrRoll: what is stored is not what this version writes.
var ErrRoll = errors.New("roll of replicas is malformed")

// mark is what a replica vouches for.
type mark struct {
	Turn uint64            // names this mark among all that the replica ever wrote
	Saw  map[string]uint64 // the turns of the others that it had read before it followed the log
	At   store.Position    // up to which it had followed the log, in which all was that it knew
	Left bool              // it has stopped
}

// wireMark is a mark as it is stored. A lineage is written as people read it elsewhere.
type wireMark struct {
	Turn    uint64            `json:"turn"`
	Saw     map[string]uint64 `json:"saw,omitempty"`
	Lineage string            `json:"lineage"`
	Seq     uint64            `json:"seq"`
	Left    bool              `json:"left,omitempty"`
}

func encodeMarks(marks map[string]mark) ([]byte, error) {
	out := make(map[string]wireMark, len(marks))
	for name, m := range marks {
		out[name] = wireMark{m.Turn, m.Saw, strconv.FormatUint(uint64(m.At.Lineage), 16), m.At.Seq, m.Left}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encoding the roll of replicas: %w", err)
	}
	return data, nil
}

func decodeMarks(data []byte) (map[string]mark, error) {
	var in map[string]wireMark
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoll, err)
	}
	out := make(map[string]mark, len(in))
	for name, w := range in {
		lineage, err := strconv.ParseUint(w.Lineage, 16, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: lineage of %q", ErrRoll, name)
		}
		out[name] = mark{w.Turn, w.Saw, store.Position{Lineage: store.Lineage(lineage), Seq: w.Seq}, w.Left}
	}
	return out, nil
}

func encodeNames(names []string) ([]byte, error) {
	data, err := json.Marshal(append([]string{}, names...))
	if err != nil {
		return nil, fmt.Errorf("encoding the roll of replicas: %w", err)
	}
	return data, nil
}

// decodeNames reads what encodeNames wrote; nothing is nobody.
func decodeNames(data []byte) ([]string, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRoll, err)
	}
	return names, nil
}
