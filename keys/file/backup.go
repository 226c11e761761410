package file

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/writbroker/writ/keys"
)

// maxBackup is far above what the keys of one ring take.
const maxBackup = 4 << 20

// Backup implements keys.Backup by one file of mode 0600.
type Backup struct{ file keys.PrivateFile }

// NewBackup keeps the backup at path; its directory must exist.
func NewBackup(path string) *Backup { return &Backup{file: keys.PrivateFile(path)} }

// Load implements keys.Backup.
func (b *Backup) Load() ([]byte, error) {
	value, err := b.file.Read(maxBackup)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading backup of the key ring: %w", err)
	}
	return value, nil
}

// Save implements keys.Backup.
func (b *Backup) Save(value []byte) error {
	if err := b.file.Replace(value); err != nil {
		return fmt.Errorf("writing backup of the key ring: %w", err)
	}
	return nil
}
