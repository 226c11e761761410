package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
)

// Snapshot opens the revocation list at u, Metadata's RevocationSnapshot, in compact form:
// what changed after since, if that is not zero and still known there, else everything.
// auth is a token for `writ:feed:read`. Read it with revocation.ReadBulk, which says what
// it is and checks who signed it; close it. ctx bounds the reading too. It makes one attempt.
func (c *Client) Snapshot(ctx context.Context, u string, since token.Rev, auth string) (io.ReadCloser, error) {
	at, err := secureURL(u)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if !since.IsZero() {
		at.RawQuery = url.Values{wire.ParamSince: {since.String()}}.Encode()
	}
	req, err := call{method: http.MethodGet, url: at.String(), auth: auth, accept: wire.TypeBulkSnapshot}.request(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := c.caller.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("opening the snapshot: %w", causeOf(ctx, stripURL(err)))
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case resp.StatusCode != http.StatusOK:
		err = fmt.Errorf("opening the snapshot: %w", c.caller.refusal(resp))
	case strings.TrimSpace(mediaType) != wire.TypeBulkSnapshot:
		err = fmt.Errorf("opening the snapshot: the answer is %q, no %s", mediaType, wire.TypeBulkSnapshot)
	default:
		return resp.Body, nil
	}
	_ = resp.Body.Close()
	return nil, err
}
