package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/vault/api"
)

// The ways to log in; each is the name of Vault's auth method, and where it is mounted
// unless Login.Mount says otherwise.
const (
	MethodAppRole    = "approle"
	MethodKubernetes = "kubernetes"
	MethodJWT        = "jwt"
	MethodToken      = "token" // a token that somebody else made, in a file
	MethodCert       = "cert"  // TLS client certificate
)

// Login says how the broker proves to Vault who it is. Files are read anew at each
// login, so that what is in them can be renewed without a restart.
type Login struct {
	Method string
	Mount  string // "" = the method's name
	Role   string // kubernetes, jwt (optional there), cert (optional)

	RoleID       string // approle
	SecretIDFile string // approle
	// Wrapped says that SecretIDFile holds a response-wrapping token instead. It is
	// unwrapped once, and the secret id kept in memory; a restart needs a new one.
	Wrapped bool

	JWTFile   string // kubernetes, "" = where Kubernetes puts it; jwt
	TokenFile string // token
	CertFile  string // cert; PEM
	KeyFile   string // cert; PEM
}

// serviceAccountToken is where Kubernetes puts a pod's own token.
const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

func (l Login) withDefaults() (Login, error) {
	orString(&l.Mount, l.Method)
	var faults []error
	require := func(what, value string) {
		if value == "" {
			faults = append(faults, fmt.Errorf("vault: the login by %s needs %s", l.Method, what))
		}
	}
	switch l.Method {
	case MethodAppRole:
		require("a role id", l.RoleID)
		require("a secret id file", l.SecretIDFile)
	case MethodKubernetes:
		orString(&l.JWTFile, serviceAccountToken)
		require("a role", l.Role)
	case MethodJWT:
		require("a jwt file", l.JWTFile)
	case MethodToken:
		require("a token file", l.TokenFile)
	case MethodCert:
		require("a certificate file", l.CertFile)
		require("a key file", l.KeyFile)
	default:
		faults = append(faults, fmt.Errorf("vault: login method %q is none of %s", l.Method,
			strings.Join([]string{MethodAppRole, MethodKubernetes, MethodJWT, MethodToken, MethodCert}, ", ")))
	}
	if l.Mount != "" && !mountPattern.MatchString(l.Mount) {
		faults = append(faults, fmt.Errorf("vault: login mount %q is not a path", l.Mount))
	}
	return l, errors.Join(faults...)
}

// wrapping is a secret id that was unwrapped, and the wrapping token it came from.
type wrapping struct{ token, secretID secret }

// authenticate logs in by the configured method. The caller holds the right to.
func (c *Client) authenticate(ctx context.Context) (*api.Secret, error) {
	l := c.cfg.Login
	path := "auth/" + l.Mount + "/login"
	local := func(err error) error { return &CallError{Kind: ErrLogin, Op: "login", Path: path, Cause: err} }
	body := map[string]string{}
	switch l.Method {
	case MethodToken:
		return c.fromFile(ctx)
	case MethodAppRole:
		secretID, err := c.secretID(ctx)
		if err != nil {
			return nil, err
		}
		body["role_id"], body["secret_id"] = l.RoleID, string(secretID)
	case MethodKubernetes, MethodJWT:
		proof, err := readSecret(l.JWTFile)
		if err != nil {
			return nil, local(fmt.Errorf("reading jwt: %w", err))
		}
		body["jwt"], body["role"] = string(proof), l.Role
	case MethodCert:
		body["name"] = l.Role
	}
	return c.loggedIn(ctx, "", request{op: "login", path: path, body: body})
}

// loggedIn sends a request that is answered with a token.
func (c *Client) loggedIn(ctx context.Context, token secret, r request) (*api.Secret, error) {
	client, err := c.api(token, 0)
	if err != nil {
		return nil, err
	}
	var out api.Secret
	if err := c.send(ctx, client, r, &out); err != nil {
		return nil, refusedLogin(err)
	}
	if out.Auth == nil || out.Auth.ClientToken == "" {
		return nil, r.fault(ErrLogin, "the answer holds no token", nil)
	}
	return &out, nil
}

// refusedLogin says of a refusal that it is one of the login: whatever Vault holds
// against it, a request without a token was refused for what it proves.
func refusedLogin(err error) error {
	failed, ok := errors.AsType[*CallError](err)
	if !ok || !failed.of(ErrDenied, ErrRefused, ErrNotFound) {
		return err
	}
	refused := *failed
	refused.Kind = ErrLogin
	return &refused
}

// secretID reads AppRole's secret id, and unwraps it where it is wrapped.
func (c *Client) secretID(ctx context.Context) (secret, error) {
	l := c.cfg.Login
	content, err := readSecret(l.SecretIDFile)
	if err != nil {
		if c.wrapped.secretID != "" {
			return c.wrapped.secretID, nil // a wrapping token that was used may well be removed
		}
		return "", &CallError{Kind: ErrLogin, Op: "login", Path: "auth/" + l.Mount + "/login", Cause: fmt.Errorf("reading secret id: %w", err)}
	}
	if !l.Wrapped {
		return content, nil
	}
	if content == c.wrapped.token {
		return c.wrapped.secretID, nil
	}
	unwrapped, err := c.unwrap(ctx, content)
	if err != nil {
		return "", err
	}
	c.wrapped = wrapping{token: content, secretID: unwrapped}
	return unwrapped, nil
}

// unwrap gets a wrapped secret id. What was wrapped elsewhere than by this role's mount
// was put there by somebody else.
func (c *Client) unwrap(ctx context.Context, token secret) (secret, error) {
	client, err := c.api(token, 0)
	if err != nil {
		return "", err
	}
	var lookup answer[struct {
		CreationPath string `json:"creation_path"`
	}]
	r := request{op: "login", path: "sys/wrapping/lookup", body: map[string]string{"token": string(token)}}
	if err := c.send(ctx, client, r, &lookup); err != nil {
		return "", spent(err)
	}
	made := lookup.Data.CreationPath
	if !strings.HasPrefix(made, "auth/"+c.cfg.Login.Mount+"/role/") || !strings.HasSuffix(made, "/secret-id") {
		return "", r.fault(ErrUnwrap, "it was wrapped at "+made, nil)
	}
	var out answer[struct {
		SecretID secret `json:"secret_id"`
	}]
	// Once only: a second try would find the token spent by the first.
	r = request{op: "login", path: "sys/wrapping/unwrap", body: struct{}{}}
	if err := c.once(ctx, client, r, &out); err != nil {
		return "", spent(err)
	}
	if out.Data.SecretID == "" {
		return "", r.fault(ErrUnwrap, "the answer holds no secret id", nil)
	}
	return out.Data.SecretID, nil
}

func spent(err error) error {
	failed, ok := errors.AsType[*CallError](err)
	if !ok || failed.passing() {
		return err
	}
	refused := *failed
	refused.Kind = ErrUnwrap
	return &refused
}

// fromFile takes a token over that somebody else made.
func (c *Client) fromFile(ctx context.Context) (*api.Secret, error) {
	const path = "auth/token/lookup-self"
	token, err := readSecret(c.cfg.Login.TokenFile)
	if err != nil {
		return nil, &CallError{Kind: ErrLogin, Op: "login", Path: path, Cause: fmt.Errorf("reading token: %w", err)}
	}
	client, err := c.api(token, 0)
	if err != nil {
		return nil, &CallError{Kind: ErrLogin, Op: "login", Path: path, Cause: err}
	}
	var out answer[struct {
		TTL       int  `json:"ttl"`
		Renewable bool `json:"renewable"`
	}]
	if err := c.send(ctx, client, request{op: "login", path: path}, &out); err != nil {
		if errors.Is(err, ErrDenied) {
			return nil, &CallError{Kind: ErrToken, Op: "login", Path: path, Detail: "put a new one into " + c.cfg.Login.TokenFile}
		}
		return nil, err
	}
	return &api.Secret{Auth: &api.SecretAuth{ClientToken: string(token), LeaseDuration: out.Data.TTL, Renewable: out.Data.Renewable}}, nil
}
