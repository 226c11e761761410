package awssts

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/writbroker/writ/token"
)

// answer is what STS gave.
type answer struct {
	id, secret, token string
	expires           time.Time
	userID            string
	used              int    // of the room for a session's token, percent
	keyID             string // of the JWT that was the proof
}

func (m *Minter) call(ctx context.Context, r *request) (*answer, error) {
	if m.cfg.Mode == WebIdentity {
		return m.withWebIdentity(ctx, r)
	}
	in := &sts.AssumeRoleInput{
		RoleArn: aws.String(r.policy.Role), RoleSessionName: aws.String(r.name), SourceIdentity: aws.String(r.source),
		Policy: aws.String(r.policy.JSON), PolicyArns: arns(r.policy.ManagedARN), DurationSeconds: seconds(r.duration),
		TransitiveTagKeys: TransitiveKeys(r.tags),
	}
	for _, t := range r.tags {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	if m.cfg.ExternalID != "" {
		in.ExternalId = aws.String(m.cfg.ExternalID)
	}
	out, err := m.client.AssumeRole(ctx, in)
	if err != nil {
		return nil, err
	}
	return read(out.Credentials, out.AssumedRoleUser, out.SessionTokenUtilization), nil
}

func (m *Minter) withWebIdentity(ctx context.Context, r *request) (*answer, error) {
	proof, err := m.proof(ctx, r)
	if err != nil {
		return nil, err
	}
	in := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(r.policy.Role), RoleSessionName: aws.String(r.name), WebIdentityToken: aws.String(proof),
		Policy: aws.String(r.policy.JSON), PolicyArns: arns(r.policy.ManagedARN), DurationSeconds: seconds(r.duration),
	}
	if m.endsWithProof(r) {
		in.DurationSeconds = nil
	}
	out, err := m.client.AssumeRoleWithWebIdentity(ctx, in)
	if err != nil {
		return nil, err
	}
	a := read(out.Credentials, out.AssumedRoleUser, out.SessionTokenUtilization)
	a.keyID = r.order.Signer.KeyID()
	return a, nil
}

// endsWithProof reports whether a session is to end with the JWT, as MinIO has it where no duration
// is asked for. The time in its policies is not enough there: MinIO takes a header Currenttime
// for the time.
func (m *Minter) endsWithProof(r *request) bool { return m.cfg.Plain && r.held }

// proofLife is how long the JWT is good: for one call with its attempts, and clocks that differ.
const proofLife = 5 * time.Minute

// proofType is the typ of the JWT. It is not that of an access token, so that neither the
// broker nor a verifier takes it for one.
const proofType = "JWT"

// proof signs the JWT that the role trusts. Whoever holds it chooses the session policy: it
// goes to STS, and into nothing else. In it are the tags and the source identity, which
// AssumeRoleWithWebIdentity takes from nowhere else.
func (m *Minter) proof(ctx context.Context, r *request) (string, error) {
	if r.order.Signer == nil {
		return "", later(ReasonNoKey, "no signing key is active", retrySoon, nil)
	}
	type tags struct {
		Principal  map[string][]string `json:"principal_tags"`
		Transitive []string            `json:"transitive_tag_keys"`
	}
	t := tags{map[string][]string{}, TransitiveKeys(r.tags)}
	for _, tag := range r.tags {
		t.Principal[tag.Key] = []string{tag.Value}
	}
	now := m.cfg.Now()
	ends := now.Add(proofLife)
	if m.endsWithProof(r) {
		ends = r.ends
	}
	payload, err := json.Marshal(struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
		IssuedAt int64  `json:"iat"`
		Expiry   int64  `json:"exp"`
		ID       string `json:"jti"`
		Tags     tags   `json:"https://aws.amazon.com/tags"`
		Source   string `json:"https://aws.amazon.com/source_identity"`
	}{m.cfg.Issuer, r.order.Claims().ClientID, m.cfg.Audience, now.Unix(), ends.Unix(), r.order.DecisionID(), t, r.source})
	if err != nil {
		return "", fmt.Errorf("encoding the proof for STS: %w", err)
	}
	raw, err := token.Sign(ctx, proofType, payload, r.order.Signer)
	if err != nil {
		return "", later(ReasonNoKey, "signing failed; try again", retrySoon, err)
	}
	return raw, nil
}

func read(c *types.Credentials, user *types.AssumedRoleUser, used *int32) *answer {
	a := &answer{used: int(aws.ToInt32(used))}
	if c != nil {
		a.id, a.secret, a.token = aws.ToString(c.AccessKeyId), aws.ToString(c.SecretAccessKey), aws.ToString(c.SessionToken)
		a.expires = aws.ToTime(c.Expiration)
	}
	if user != nil {
		a.userID = aws.ToString(user.AssumedRoleId)
	}
	return a
}

func arns(all []string) []types.PolicyDescriptorType {
	var out []types.PolicyDescriptorType
	for _, arn := range all {
		out = append(out, types.PolicyDescriptorType{Arn: aws.String(arn)})
	}
	return out
}

func seconds(d time.Duration) *int32 { return aws.Int32(int32(d / time.Second)) }
