package app

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/writbroker/writ/keys"
)

// replicaFile holds the name of this replica, made at its first start.
const replicaFile = "replica-id"

// ErrReplica: the file with the replica's name holds something else.
var ErrReplica = errors.New("replica-id is not 8 to 40 lower-case letters, digits and dashes")

// keptNames is the file that says whom this replica waits for when the store has lost that.
type keptNames keys.PrivateFile

// Load is roll.Kept's.
func (f keptNames) Load() ([]byte, error) {
	data, err := keys.PrivateFile(f).Read(1 << 20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading names of replicas: %w", err)
	}
	return data, nil
}

// Save is roll.Kept's.
func (f keptNames) Save(data []byte) error {
	if err := keys.PrivateFile(f).Replace(data); err != nil {
		return fmt.Errorf("writing names of replicas: %w", err)
	}
	return nil
}

// replicaID is the name under which the other replicas know this one: in heartbeats, in
// what they tell each other of their verifiers, and on the anchors of its audit log. It
// stays with the data folder, so that a replica that restarts is the same one. A folder
// that is copied to begin another replica must leave the file behind.
func replicaID(dir string) (string, error) {
	file := keys.PrivateFile(filepath.Join(dir, replicaFile))
	data, err := file.Read(64)
	if errors.Is(err, fs.ErrNotExist) {
		if err = file.Create([]byte(strings.ToLower(rand.Text()[:16]) + "\n")); err == nil || errors.Is(err, fs.ErrExist) {
			data, err = file.Read(64)
		}
	}
	if err != nil {
		return "", fmt.Errorf("reading replica-id: %w", err)
	}
	id := strings.TrimRight(string(data), "\r\n")
	if ok, err := regexp.MatchString(`\A[a-z0-9][a-z0-9-]{7,39}\z`, id); err != nil || !ok {
		return "", fmt.Errorf("%w: %s", ErrReplica, file)
	}
	return id, nil
}
