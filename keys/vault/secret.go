package vault

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
)

const redacted = "[redacted]"

// secret is a token, a secret id or a JWT. It shows itself to nobody but who converts it.
type secret string

// String redacts.
func (secret) String() string { return redacted }

// GoString redacts.
func (secret) GoString() string { return redacted }

// LogValue redacts.
func (secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON redacts.
func (secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// readSecret reads a file anew each time, so that whoever renews it need not tell us.
func readSecret(path string) (secret, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the operator names it
	if err != nil {
		return "", err
	}
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	if bytes.ContainsAny(data, "\r\n") {
		return "", fmt.Errorf("%s holds more than one line", path)
	}
	return secret(data), nil
}
