package bench

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/google/uuid"

	"github.com/writbroker/writ/mint/awssts"
)

const (
	stsTimeout = 10 * time.Second // the broker's own default
	stsSession = time.Hour
)

// stsServer is an STS, and a bare client of the SDK's that asks it for what the broker does: a session of
// the same life, policy, names and tags. It is what the way to STS costs at least.
type stsServer struct {
	kind, address, region string
	credentials           string // a file
	stop                  func() error

	client *sts.Client
	http   *http.Client
	input  *sts.AssumeRoleInput
	policy int // its size, in characters
}

// login makes the client, by the broker's own way to credentials and with its own settings of connections.
func (s *stsServer) login(ctx context.Context) error {
	world, err := newAWSWorld()
	if err != nil {
		return err
	}
	credentials, err := awssts.Login{Region: s.region, CredentialsFile: s.credentials}.Open(ctx)
	if err != nil {
		return err
	}
	s.http = awssts.HTTPClient(nil, stsTimeout)
	s.input, err = bareInput(world)
	if err != nil {
		return err
	}
	s.policy = len(aws.ToString(s.input.Policy))
	s.client = sts.New(sts.Options{Region: s.region, Credentials: credentials, HTTPClient: s.http}, func(o *sts.Options) {
		o.BaseEndpoint = aws.String(s.address)
	})
	return nil
}

func bareInput(w *awsWorld) (*sts.AssumeRoleInput, error) {
	p, err := w.catalog.Compile(w.set, awssts.Options{Plain: true})
	if err != nil {
		return nil, fmt.Errorf("compiling session policy: %w", err)
	}
	id := prefix + agent(0)
	decision := uuid.NewString()
	name, _ := awssts.SessionName(decision)
	from, _ := awssts.SourceIdentity(id)
	in := &sts.AssumeRoleInput{
		RoleArn: aws.String(p.Role), RoleSessionName: aws.String(name), SourceIdentity: aws.String(from),
		Policy: aws.String(p.JSON), DurationSeconds: aws.Int32(int32(stsSession / time.Second)),
	}
	// A tag has the short form of a policy's version, which any digest is as long as.
	tags := awssts.SessionTags(awssts.Session{Agent: id, Subject: id, Task: awsTask(0), Policy: p.Digest()[:16], Decision: decision})
	for _, t := range tags {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	in.TransitiveTagKeys = awssts.TransitiveKeys(tags)
	return in, nil
}

func (s *stsServer) ask(ctx context.Context) error {
	if _, err := s.client.AssumeRole(ctx, s.input); err != nil {
		return fmt.Errorf("calling STS: %w", err)
	}
	return nil
}

func (s *stsServer) close() error {
	s.http.CloseIdleConnections()
	return s.stop()
}
