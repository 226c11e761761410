package ststest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/writbroker/writ/internal/ststest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	role   = "arn:aws:iam::123456789012:role/r"
	guest  = "arn:aws:iam::123456789012:role/guest"
	policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
)

func start(t *testing.T) (*ststest.Server, func(func(*sts.AssumeRoleInput, *sts.Options)) error) {
	t.Helper()
	s := ststest.New(t, ststest.Options{
		Roles: []ststest.Role{{ARN: role, MaxSession: 12 * time.Hour}, {ARN: guest, ExternalID: "42"}},
		Principals: []ststest.Principal{
			{AccessKeyID: "AKIAME", ARN: "arn:aws:iam::123456789012:user/me"},
			{AccessKeyID: "ASIAROLE", ARN: "arn:aws:sts::123456789012:assumed-role/x/y", SessionToken: "t"},
		},
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return s, func(change func(*sts.AssumeRoleInput, *sts.Options)) error {
		in := &sts.AssumeRoleInput{RoleArn: aws.String(role), RoleSessionName: aws.String("session"), DurationSeconds: aws.Int32(900), Policy: aws.String(policy)}
		opt := sts.Options{
			Region: ststest.Region, BaseEndpoint: aws.String(s.URL), HTTPClient: client, Retryer: aws.NopRetryer{},
			Credentials: credentials.NewStaticCredentialsProvider("AKIAME", "secret", ""),
		}
		change(in, &opt)
		out, err := sts.New(opt).AssumeRole(context.WithoutCancel(t.Context()), in)
		if err == nil && (aws.ToString(out.Credentials.AccessKeyId) == "" || out.Credentials.Expiration == nil || aws.ToString(out.AssumedRoleUser.AssumedRoleId) == "") {
			t.Errorf("an answer without credentials: %+v", out)
		}
		return err
	}
}

// A stand-in that takes everything would prove nothing: each rule of AWS refuses, by AWS's code.
func TestRules(t *testing.T) {
	_, assume := start(t)
	tag := func(k, v string) types.Tag { return types.Tag{Key: aws.String(k), Value: aws.String(v)} }
	many := make([]types.Tag, 51)
	for i := range many {
		many[i] = tag(fmt.Sprint("k", i), "")
	}
	for name, row := range map[string]struct {
		change func(*sts.AssumeRoleInput, *sts.Options)
		code   string
	}{
		"all in order": {func(*sts.AssumeRoleInput, *sts.Options) {}, ""},
		"tags and an identity": {func(in *sts.AssumeRoleInput, _ *sts.Options) {
			in.Tags, in.TransitiveTagKeys, in.SourceIdentity = []types.Tag{tag("a b", "ü:/=+-@")}, []string{"a b"}, aws.String("me@x")
		}, ""},
		"a name with a colon":  {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.RoleSessionName = aws.String("k8s:x") }, "ValidationError"},
		"a name of one letter": {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.RoleSessionName = aws.String("x") }, "ValidationError"},
		"a long identity":      {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.SourceIdentity = aws.String(strings.Repeat("x", 65)) }, "ValidationError"},
		"a tag with a '#'":     {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.Tags = []types.Tag{tag("a", "#")} }, "ValidationError"},
		"a long tag": {func(in *sts.AssumeRoleInput, _ *sts.Options) {
			in.Tags = []types.Tag{tag("a", strings.Repeat("x", 257))}
		}, "ValidationError"},
		"a key of AWS":       {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.Tags = []types.Tag{tag("AWS:a", "")} }, "ValidationError"},
		"keys alike":         {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.Tags = []types.Tag{tag("a", ""), tag("A", "")} }, "ValidationError"},
		"51 tags":            {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.Tags = many }, "ValidationError"},
		"transitive, no tag": {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.TransitiveTagKeys = []string{"a"} }, "ValidationError"},
		"14 minutes":         {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.DurationSeconds = aws.Int32(840) }, "ValidationError"},
		"13 hours":           {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.DurationSeconds = aws.Int32(13 * 3600) }, "ValidationError"},
		"longer than the role": {func(in *sts.AssumeRoleInput, _ *sts.Options) {
			in.RoleArn, in.ExternalId, in.DurationSeconds = aws.String(guest), aws.String("42"), aws.Int32(3601)
		}, "ValidationError"},
		"chained for 2 hours": {func(in *sts.AssumeRoleInput, o *sts.Options) {
			o.Credentials, in.DurationSeconds = credentials.NewStaticCredentialsProvider("ASIAROLE", "s", "t"), aws.Int32(7200)
		}, "ValidationError"},
		"a policy too long": {func(in *sts.AssumeRoleInput, _ *sts.Options) {
			in.Policy = aws.String(policy + strings.Repeat(" ", 2048))
		}, "ValidationError"},
		"a policy in other characters": {func(in *sts.AssumeRoleInput, _ *sts.Options) {
			in.Policy = aws.String(strings.Replace(policy, "*", "日本", 1))
		}, "MalformedPolicyDocument"},
		"a policy that is none": {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.Policy = aws.String("{}") }, "MalformedPolicyDocument"},
		"a policy without end":  {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.Policy = aws.String(policy[:40]) }, "MalformedPolicyDocument"},
		"managed by a role": {func(in *sts.AssumeRoleInput, _ *sts.Options) {
			in.PolicyArns = []types.PolicyDescriptorType{{Arn: aws.String(role)}}
		}, "ValidationError"},
		"too much to pack": {func(in *sts.AssumeRoleInput, _ *sts.Options) {
			for i := range 40 {
				in.Tags = append(in.Tags, tag(fmt.Sprint(i), strings.Repeat("v", 200)))
			}
		}, "PackedPolicyTooLarge"},
		"no external id":           {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.RoleArn = aws.String(guest) }, "AccessDenied"},
		"a role that is not there": {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.RoleArn = aws.String(role + "2") }, "AccessDenied"},
		"an ARN that is none":      {func(in *sts.AssumeRoleInput, _ *sts.Options) { in.RoleArn = aws.String("arn:aws:iam::12:role/x-y-z") }, "ValidationError"},
		"nobody's key": {func(_ *sts.AssumeRoleInput, o *sts.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider("AKIAYOU", "s", "")
		}, "InvalidClientTokenId"},
		"a role's key without its token": {func(_ *sts.AssumeRoleInput, o *sts.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider("ASIAROLE", "s", "")
		}, "InvalidClientTokenId"},
		"another region": {func(_ *sts.AssumeRoleInput, o *sts.Options) { o.Region = "us-east-2" }, "SignatureDoesNotMatch"},
		"no signature":   {func(_ *sts.AssumeRoleInput, o *sts.Options) { o.Credentials = aws.AnonymousCredentials{} }, "MissingAuthenticationToken"},
	} {
		t.Run(name, func(t *testing.T) {
			err := assume(row.change)
			api, _ := errors.AsType[smithy.APIError](err)
			if row.code == "" && err != nil || row.code != "" && (api == nil || api.ErrorCode() != row.code) {
				t.Errorf("got %v, want %q", err, row.code)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	s, assume := start(t)
	same := func(*sts.AssumeRoleInput, *sts.Options) {}
	s.Fail(ststest.Fault{Code: "Throttling"}, ststest.Fault{Drop: true})
	for i, want := range []bool{true, true, false} {
		if err := assume(same); (err != nil) != want {
			t.Errorf("call %d: %v", i, err)
		}
	}
	s.Always(&ststest.Fault{Status: 500, Code: "InternalFailure"})
	for range 2 {
		if assume(same) == nil {
			t.Error("no fault")
		}
	}
	s.Always(nil)
	if err := assume(same); err != nil || len(s.Calls("AssumeRole")) != 6 {
		t.Errorf("%v after %d calls", err, len(s.Calls("")))
	}
}
