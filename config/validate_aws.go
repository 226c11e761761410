package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The modes of AWS sessions.
const (
	AWSAssumeRole  = "assume_role"
	AWSWebIdentity = "web_identity"
)

// DefaultAWSAudience is what AWS takes where nobody says otherwise.
const DefaultAWSAudience = "sts.amazonaws.com"

var (
	awsRegion     = regexp.MustCompile(`\A[a-z0-9-]{2,32}\z`)
	awsExternalID = regexp.MustCompile(`\A[\w+=,.@:/-]{2,1000}\z`)
)

// WebAudience is the audience of the tokens of web_identity.
func (a AWS) WebAudience() string { return cmp.Or(a.Audience, DefaultAWSAudience) }

func (k *checker) aws() {
	a := k.config.AWS
	if a.Mode == "" {
		if _, told := k.config.lines["aws"]; told {
			k.fault("aws.mode", "is missing", "use "+AWSAssumeRole+" or "+AWSWebIdentity+"; without an aws section no AWS credentials are issued")
		}
		return
	}
	k.oneOf("aws.mode", a.Mode, AWSAssumeRole, AWSWebIdentity)
	if k.require("aws.region", a.Region, "name the region of STS, such as eu-central-1") && !awsRegion.MatchString(a.Region) {
		k.fault("aws.region", fmt.Sprintf("%q is not a region", a.Region), "write it as AWS does, such as eu-central-1")
	}
	if a.Endpoint != "" {
		k.url("aws.endpoint", a.Endpoint)
	} else if a.CAFile != "" {
		k.fault("aws.ca_file", "is set, but there is no endpoint of your own", "set aws.endpoint, or remove it")
	}
	if a.ExternalID != "" && !awsExternalID.MatchString(a.ExternalID) {
		k.fault("aws.external_id", "is not one that AWS takes", "use 2 to 1000 of A-Z a-z 0-9 _ + = , . @ : / -")
	}
	k.between("aws.timeout", a.Timeout, time.Second, time.Minute)
	k.awsMode(a)
	k.awsRevoker(a)
}

// awsRevoker refuses credentials that do both: whoever takes the broker's would have any right
// in the roles.
func (k *checker) awsRevoker(a AWS) {
	r := a.Revoker
	if r == nil {
		return
	}
	if r.Endpoint != "" {
		k.url("aws.revoker.endpoint", r.Endpoint)
	} else if r.CAFile != "" {
		k.fault("aws.revoker.ca_file", "is set, but there is no endpoint of your own", "set aws.revoker.endpoint, or remove it")
	}
	if a.Mode == AWSAssumeRole && r.Profile == a.Profile && r.CredentialsFile == a.CredentialsFile && r.ConfigFile == a.ConfigFile {
		k.fault("aws.revoker", "has the credentials that make sessions", "give it a profile or a credentials_file of its own")
	}
}

// awsMode refuses what says nothing in a mode: it would be thought to.
func (k *checker) awsMode(a AWS) {
	if a.Mode == AWSWebIdentity {
		for key, value := range map[string]string{
			"external_id": a.ExternalID, "profile": a.Profile, "config_file": a.ConfigFile, "credentials_file": a.CredentialsFile,
		} {
			if value != "" {
				k.fault("aws."+key, "is set, but in web_identity the broker has no AWS credentials", "remove it, or use mode: assume_role")
			}
		}
		if k.config.Keys.Algorithm == "Ed25519" {
			k.fault("aws.mode", "is web_identity, and AWS verifies no signatures of keys.algorithm Ed25519", "use ES256 or RS256")
		}
		k.awsAudience(a.WebAudience())
		return
	}
	if a.Audience != "" {
		k.fault("aws.audience", "is set, but assume_role sends no token", "remove it, or use mode: web_identity")
	}
}

// awsAudience must be AWS's alone: a token with it is worth any session.
func (k *checker) awsAudience(audience string) {
	same := func(other string) bool {
		return strings.EqualFold(strings.TrimRight(other, "/"), strings.TrimRight(audience, "/"))
	}
	taken := same(k.config.Issuer)
	for i := range k.config.Identity.Sources {
		taken = taken || slices.ContainsFunc(k.config.Identity.Sources[i].Audiences, same)
	}
	if taken {
		k.fault("aws.audience", fmt.Sprintf("%q is in use for other tokens", audience), "choose a name that nothing else has")
	}
}
