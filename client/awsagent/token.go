package awsagent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/writbroker/writ/client"
)

// minToken is less than NewToken makes, and more than can be guessed.
const minToken = 22

// NewToken makes a random token for callers to show.
func NewToken() client.Secret { return client.Secret(rand.Text()) }

// TokenFile returns the token in path, so that callers that were started with it go on
// after the agent starts anew; it makes both where there is no such file. Nobody but its
// owner may read it. It ends without a newline: SDKs send it as it is.
func TokenFile(path string) (client.Secret, error) {
	made := NewToken()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // #nosec G304 -- the operator's own choice
	if errors.Is(err, fs.ErrExist) {
		return readToken(path)
	}
	if err != nil {
		return "", fmt.Errorf("making the token file: %w", err)
	}
	_, err = f.WriteString(made.Reveal())
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing the token file: %w", errors.Join(err, os.Remove(path)))
	}
	return made, nil
}

func readToken(path string) (client.Secret, error) {
	f, err := os.Open(path) // #nosec G304 -- the operator's own choice
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("the token file %s has mode %v: others may read it; remove it and another is made", path, info.Mode())
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
