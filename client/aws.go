package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/writbroker/writ/httpapi/wire"
)

// AWSCredentials are those of one AWS session. Its secrets redact themselves.
type AWSCredentials struct {
	AccessKeyID     string
	SecretAccessKey Secret
	SessionToken    Secret
	// Expiration is the end as the broker said it: what AWS SDKs are told.
	Expiration time.Time
	// Expiry is the end by this process's own clock, counted from before the request
	// was sent, so it is never late.
	Expiry     time.Time
	Scopes     []string // nil where they are those that were asked for
	DecisionID string
}

// AWSCredentials exchanges the subject token for a session at AWS. Of r it sets
// RequestedTokenType. It retries like Exchange; a refusal is a *ResponseError,
// whose Body.Reason names what kept the session from being made.
func (c *Client) AWSCredentials(ctx context.Context, r Request) (*AWSCredentials, error) {
	r.RequestedTokenType = wire.TokenTypeAWSCredentials
	t, err := c.Exchange(ctx, r)
	if err != nil {
		return nil, err
	}
	var made wire.AWSProcessCredentials
	// Not the decoder's error, which may quote what it was given.
	if json.Unmarshal([]byte(t.Secret.Reveal()), &made) != nil || t.IssuedType != wire.TokenTypeAWSCredentials || made.Version != 1 ||
		made.AccessKeyID == "" || made.SecretAccessKey == "" || made.SessionToken == "" || made.Expiration.IsZero() {
		return nil, errors.New("exchanging: the broker's answer holds no AWS credentials")
	}
	return &AWSCredentials{
		AccessKeyID: made.AccessKeyID, SecretAccessKey: Secret(made.SecretAccessKey), SessionToken: Secret(made.SessionToken),
		Expiration: made.Expiration.UTC(), Expiry: t.Expiry, Scopes: t.Scopes, DecisionID: t.DecisionID,
	}, nil
}

// Process is what a credential_process prints, in one line: secrets and all.
func (a *AWSCredentials) Process() ([]byte, error) {
	return encodeAWS(wire.AWSProcessCredentials{
		Version: 1, AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey.Reveal(), SessionToken: a.SessionToken.Reveal(), Expiration: a.Expiration,
	})
}

// Container is the body that the container credentials protocol answers with,
// secrets and all.
func (a *AWSCredentials) Container() ([]byte, error) {
	return encodeAWS(wire.AWSCredentials{
		AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey.Reveal(), Token: a.SessionToken.Reveal(), Expiration: a.Expiration,
	})
}

func encodeAWS(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding AWS credentials: %w", err)
	}
	return append(data, '\n'), nil
}
