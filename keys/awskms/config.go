package awskms

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Observe is told the end of every call of KMS: action is "kms:Decrypt" or the like, as
// IAM names it; What(err) is the label that goes with it. It must not block.
type Observe func(action string, err error)

// Config says which KMS, and what there is the broker's. It is not changed.
type Config struct {
	Region  string // "" = that of the SDK's default chain
	Profile string // of the shared configuration, a role in it too; "" = the default chain's
	// Credentials are the broker's own; nil = the SDK's default chain: environment,
	// shared configuration, web identity, container, instance.
	Credentials aws.CredentialsProvider
	// Endpoint is https://host of a VPC endpoint or the like; "" = AWS's for the region.
	// Plain http only to loopback, or with InsecureHTTP.
	Endpoint     string
	InsecureHTTP bool // keys travel in the clear

	// SealKey is a symmetric KMS key: its id, its ARN, an alias (alias/name) or an
	// alias's ARN. Its material may rotate. An alias that is moved to another key takes
	// what was sealed before out of reach.
	SealKey string
	// Tags are put on the KMS keys that Signing makes, besides writ:ring.
	Tags map[string]string
	// DeleteAfter is how many days KMS keeps a key that Signing discards, for somebody to
	// change their mind: 7 to 30; 0 = 7.
	DeleteAfter int

	// Timeout bounds one call, its repetitions and the wait for its turn included; 0 = 5 s.
	Timeout time.Duration
	// Concurrency is how many signatures KMS makes at once; 0 = 64.
	Concurrency int
	// QueueSize is how many signatures may wait for their turn; more are refused. 0 = 1024.
	QueueSize int
	// BreakAfter is how many calls in a row may find KMS away before none is made for a
	// while; 0 = 5.
	BreakAfter int
	// ProbeEvery is about how often KMS is tried once that has happened; 0 = 1 s.
	ProbeEvery time.Duration

	Now     func() time.Time // required
	Logger  *slog.Logger     // required
	Observe Observe          // optional

	backoff time.Duration // before a repetition, at most; 0 = a tenth of Timeout; a seam for tests
}

const (
	defaultTimeout     = 5 * time.Second
	defaultConcurrency = 64
	defaultQueue       = 1024
	defaultBreak       = 5
	defaultProbe       = time.Second

	// Between these KMS lets one choose (API reference, ScheduleKeyDeletion).
	leastDeleteAfter, mostDeleteAfter = 7, 30
)

// ringTag is the tag of a KMS key that says for which ring it was made.
const ringTag = "writ:ring"

var (
	keyIDPattern = regexp.MustCompile(`\A(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})\z`)
	aliasPattern = regexp.MustCompile(`\A(?:alias/[A-Za-z0-9/_-]{1,250})\z`)
	arnPattern   = regexp.MustCompile(`\A(?:arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(.+))\z`)
)

// withDefaults returns a copy that is complete, or every fault.
func (c Config) withDefaults() (Config, error) {
	orNumber(&c.DeleteAfter, leastDeleteAfter)
	orNumber(&c.Timeout, defaultTimeout)
	orNumber(&c.backoff, c.Timeout/10)
	orNumber(&c.Concurrency, defaultConcurrency)
	orNumber(&c.QueueSize, defaultQueue)
	orNumber(&c.BreakAfter, defaultBreak)
	orNumber(&c.ProbeEvery, defaultProbe)
	c.Tags = maps.Clone(c.Tags)
	if c.Observe == nil {
		c.Observe = func(string, error) {}
	}
	return c, c.validate()
}

func orNumber[N int | time.Duration](value *N, standard N) {
	if *value == 0 {
		*value = standard
	}
}

func (c Config) validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("aws kms: "+format, args...))
		}
	}
	faults = append(faults, checkEndpoint(c.Endpoint, c.InsecureHTTP), checkKey(c.SealKey))
	fault(c.Now == nil || c.Logger == nil, "clock and logger are required")
	fault(c.DeleteAfter < leastDeleteAfter || c.DeleteAfter > mostDeleteAfter, "a discarded key is kept for %d to %d days, not %d", leastDeleteAfter, mostDeleteAfter, c.DeleteAfter)
	fault(min(int64(c.Timeout), int64(c.ProbeEvery), int64(c.Concurrency), int64(c.QueueSize), int64(c.BreakAfter)) < 0, "a bound is negative")
	for name := range c.Tags {
		fault(name == ringTag, "tag %s is the broker's own", ringTag)
		fault(name == "" || strings.HasPrefix(strings.ToLower(name), "aws:"), "tag %q is not one that AWS lets others set", name)
	}
	return errors.Join(faults...)
}

// checkRegion holds a key's ARN against the region: KMS would only say that there is no
// such key.
func (c Config) checkRegion(region string) error {
	if region == "" {
		return errors.New("aws kms: no region: name one, or set AWS_REGION")
	}
	if parts := arnPattern.FindStringSubmatch(c.SealKey); parts != nil && parts[1] != region {
		return fmt.Errorf("aws kms: seal key is in region %s, and the region is %s", parts[1], region)
	}
	return nil
}

func checkKey(key string) error {
	name := key
	if parts := arnPattern.FindStringSubmatch(key); parts != nil {
		name = parts[2]
	}
	id, isKey := strings.CutPrefix(name, "key/")
	switch {
	case key == "":
		return errors.New("aws kms: no seal key: name a symmetric KMS key")
	case strings.HasPrefix(name, "alias/aws/"):
		return fmt.Errorf("aws kms: seal key %q is AWS's own, which only its services may use: make a key", key)
	case aliasPattern.MatchString(name), keyIDPattern.MatchString(id) && isKey == (name != key):
		return nil
	}
	return fmt.Errorf("aws kms: seal key %q is not the id or ARN of a key, nor alias/name, nor an alias's ARN", key)
}

func checkEndpoint(endpoint string, insecure bool) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("aws kms: endpoint is not of the form https://host")
	}
	switch {
	case u.Scheme == "https", u.Scheme == "http" && (insecure || loopback(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return errors.New("aws kms: endpoint is plain http: keys would travel in the clear; use https, or say so")
	}
	return errors.New("aws kms: endpoint is neither https nor http")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
