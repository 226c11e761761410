package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/token"
)

func (e *env) tokenCommand() *cobra.Command {
	group := &cobra.Command{Use: "token", Short: "get, read and verify tokens"}
	group.AddCommand(e.exchangeCommand(), e.inspectCommand(), e.verifyCommand())
	return group
}

// tokenType takes the short names that the command line uses.
func tokenType(name string) (string, error) {
	switch name {
	case "":
		return "", nil
	case "jwt":
		return wire.TokenTypeJWT, nil
	case "id_token":
		return wire.TokenTypeIDToken, nil
	case "access_token":
		return wire.TokenTypeAccessToken, nil
	}
	return "", usage("a token type is jwt, id_token or access_token, not %q", name)
}

type exchangeFlags struct {
	access
	subject, subjectType, actor, actorType string
	scopes, audiences, resources           []string
	task                                   string
	ttl                                    time.Duration
}

func (e *env) exchangeCommand() *cobra.Command {
	var f exchangeFlags
	c := &cobra.Command{
		Use: "exchange --subject-token-file FILE", Short: "exchange an identity for a token, and print the token", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.exchange(c.Context(), &f) },
	}
	f.brokerFlags(c.Flags())
	c.Flags().StringVar(&f.subject, "subject-token-file", "", "file with the subject token, - for standard input (required)")
	c.Flags().StringVar(&f.subjectType, "subject-token-type", "jwt", "jwt, id_token or access_token")
	c.Flags().StringVar(&f.actor, "actor-token-file", "", "file with the agent's own token, when it acts for the subject")
	c.Flags().StringVar(&f.actorType, "actor-token-type", "jwt", "jwt or access_token")
	c.Flags().StringArrayVar(&f.scopes, "scope", nil, "a scope to ask for; repeatable, none asks for the profile")
	c.Flags().StringArrayVar(&f.audiences, "audience", nil, "an audience to ask for; repeatable")
	c.Flags().StringArrayVar(&f.resources, "resource", nil, "a resource URI to ask for; repeatable")
	c.Flags().StringVar(&f.task, "task", "", "name of the task that the token is for")
	c.Flags().DurationVar(&f.ttl, "ttl", 0, "life to ask for")
	_ = c.MarkFlagRequired("subject-token-file")
	return c
}

func (e *env) exchange(ctx context.Context, f *exchangeFlags) error {
	req, err := f.request(ctx, e.in)
	if err != nil {
		return err
	}
	transport, err := f.transport()
	if err != nil {
		return err
	}
	c, err := f.client(transport)
	if err != nil {
		return err
	}
	t, err := c.Exchange(ctx, *req)
	if err != nil {
		return err
	}
	out := map[string]any{
		"access_token": t.Secret.Reveal(), "token_type": t.Type, "issued_token_type": t.IssuedType,
		"expires_at": t.Expiry.UTC(), "scope": strings.Join(t.Scopes, " "), "decision_id": t.DecisionID,
	}
	return e.print(out, func(w io.Writer) {
		line(w, "%s", t.Secret.Reveal())
		line(e.err, "expires %s; scope %s", t.Expiry.UTC().Format(time.RFC3339), strings.Join(t.Scopes, " "))
	})
}

func (f *exchangeFlags) request(ctx context.Context, stdin io.Reader) (*client.Request, error) {
	req := &client.Request{Scopes: f.scopes, Audience: f.audiences, Resource: f.resources, Task: f.task, TTL: f.ttl}
	var err error
	if req.SubjectToken, err = readToken(ctx, f.subject, stdin); err != nil {
		return nil, err
	}
	if req.SubjectTokenType, err = tokenType(f.subjectType); err != nil {
		return nil, err
	}
	if f.actor == "" {
		return req, nil
	}
	if req.ActorToken, err = readToken(ctx, f.actor, stdin); err != nil {
		return nil, err
	}
	req.ActorTokenType, err = tokenType(f.actorType)
	return req, err
}

// readToken reads a token from a file, or from standard input: never from the command
// line, where every process of the machine could read it.
func readToken(ctx context.Context, file string, stdin io.Reader) (string, error) {
	if file != "-" {
		return client.File(file)(ctx)
	}
	data, err := io.ReadAll(io.LimitReader(stdin, token.MaxBytes+1))
	if err != nil {
		return "", fmt.Errorf("reading token: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func (e *env) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use: "inspect FILE", Short: "show what a token says, without verifying it", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			raw, err := readToken(c.Context(), args[0], e.in)
			if err != nil {
				return err
			}
			unverified, err := token.Parse(raw)
			if err != nil {
				return hinted(ExitFailed, err, "this command reads compact JWS tokens")
			}
			return e.show(unverified, json.RawMessage(unverified.UnverifiedPayload()), false)
		},
	}
}

func (e *env) show(t *token.Unverified, payload json.RawMessage, verified bool) error {
	h := t.Header()
	out := map[string]any{
		"verified": verified, "header": map[string]string{"alg": h.Algorithm, "kid": h.KeyID, "typ": h.Type}, "claims": payload,
	}
	return e.print(out, func(w io.Writer) {
		if verified {
			line(w, "verified: signature, issuer, audience and times hold; revocation was not asked")
		} else {
			line(w, "NOT verified: anybody can have written this")
		}
		pretty, err := json.MarshalIndent(out, "", "  ")
		if err == nil {
			line(w, "%s", pretty)
		}
	})
}

func (e *env) verifyCommand() *cobra.Command {
	var a access
	var audience, jwksFile string
	c := &cobra.Command{
		Use: "verify FILE --audience AUD", Short: "verify a token of the broker against its published keys", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return e.verify(c.Context(), &a, args[0], audience, jwksFile)
		},
	}
	a.brokerFlags(c.Flags())
	c.Flags().StringVar(&audience, "audience", "", "the audience that the token must be for (required)")
	c.Flags().StringVar(&jwksFile, "jwks-file", "", "keys from a file instead of the broker; --broker still names the issuer")
	_ = c.MarkFlagRequired("audience")
	return c
}

func (e *env) verify(ctx context.Context, a *access, file, audience, jwksFile string) error {
	raw, err := readToken(ctx, file, e.in)
	if err != nil {
		return err
	}
	transport, err := a.transport()
	if err != nil {
		return err
	}
	c, err := a.client(transport)
	if err != nil {
		return err
	}
	data, err := e.keySet(ctx, c, jwksFile)
	if err != nil {
		return err
	}
	set, err := token.ParseJWKS(data, token.JWKSOptions{})
	if err != nil {
		return fmt.Errorf("reading keys: %w", err)
	}
	unverified, err := token.Parse(raw)
	if err != nil {
		return err
	}
	h := unverified.Header()
	if err := token.CheckType(h, token.TypeAccessToken); err != nil {
		return err
	}
	key, ok := set.Key(h.KeyID)
	if !ok {
		return fmt.Errorf("no published key has kid %q", h.KeyID)
	}
	payload, err := unverified.Verify(key)
	if err != nil {
		return err
	}
	claims, err := token.DecodeClaims(payload)
	if err != nil {
		return err
	}
	err = claims.Validate(token.Expect{
		Issuer: c.Issuer(), Audience: []string{audience}, Now: time.Now(), Leeway: 30 * time.Second, MaxTTL: 24 * time.Hour,
	})
	if err != nil {
		return err
	}
	return e.show(unverified, payload, true)
}

func (e *env) keySet(ctx context.Context, c *client.Client, file string) ([]byte, error) {
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading keys: %w", err)
		}
		return data, nil
	}
	meta, err := c.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	data, _, err := c.JWKS(ctx, meta.JWKSURI)
	return data, err
}
