package awsagent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/writbroker/writ/client"
)

// minToken is less than NewToken makes, and more than can be guessed.
const minToken = 22

// NewToken makes a random token for callers to show.
func NewToken() client.Secret { return client.Secret(rand.Text()) }

// TokenFile returns the token in path, so that callers that were started with it go on
// after the agent starts anew; it makes both where there is no such file. The file, at the
// end of all links, must belong to the user that runs the agent, who alone may access it, or
// to root. It ends without a newline: SDKs send it as it is.
func TokenFile(path string) (client.Secret, error) {
	found, err := readToken(path, os.Geteuid())
	if !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	made := NewToken()
	switch err := writeToken(path, made); {
	case errors.Is(err, fs.ErrExist): // of agents that start at once, one makes it
		return readToken(path, os.Geteuid())
	case err != nil:
		return "", fmt.Errorf("making the token file: %w", err)
	}
	return made, nil
}

// writeToken makes the file as a whole, so that nobody finds it without the token; fs.ErrExist if there
// is one.
func writeToken(path string, made client.Secret) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(made.Reveal())
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Link(f.Name(), path)
	}
	return errors.Join(err, os.Remove(f.Name()))
}

// readToken asks the open file who may access it, so that nobody can exchange it in between.
func readToken(path string, self int) (client.Secret, error) {
	// A pipe that somebody left there is not waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|atOnce, 0) // #nosec G304 -- the operator's own choice
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	owner, ok := ownerOf(info)
	if !ok {
		return "", fmt.Errorf("the token file %s: this system does not say whose it is", path)
	}
	if err := checkTokenFile(path, info.Mode(), owner, self); err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	for _, c := range data {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("the token file %s holds more than a token; remove it and another is made", path)
		}
	}
	if len(data) < minToken {
		return "", fmt.Errorf("the token file %s holds no token; remove it and another is made", path)
	}
	return client.Secret(data), nil
}

// Mode bits that a token file may not have. A group may read one of root's: else only root
// could, and so Kubernetes mounts a secret for another user.
const (
	notOwn    fs.FileMode = 0o077
	notOfRoot fs.FileMode = 0o037
)

// checkTokenFile fails unless nobody but self, and root, can have made, changed or read the
// token: who knows it gets credentials. The owner comes first: who owns it sets the mode.
func checkTokenFile(path string, mode fs.FileMode, owner, self int) error {
	if owner != self && owner != 0 {
		return fmt.Errorf("the token file %s belongs to uid %d, and the agent runs as uid %d: who made it knows the token; remove it and another is made, or choose another path", path, owner, self)
	}
	if !mode.IsRegular() {
		return fmt.Errorf("the token file %s has mode %v: it is not a regular file; remove it and another is made", path, mode)
	}
	forbidden := notOwn
	if owner != self {
		forbidden = notOfRoot
	}
	if mode.Perm()&forbidden != 0 {
		return fmt.Errorf("the token file %s of uid %d has mode %04o: others may read it; remove it and another is made", path, owner, mode.Perm())
	}
	return nil
}
