package awskms_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/writbroker/writ/keys/awskms"
	"github.com/writbroker/writ/token"
)

func TestConfigurationsThatCannotBe(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		change func(*awskms.Config)
		want   string
	}{
		"no seal key":                 {func(c *awskms.Config) { c.SealKey = "" }, "no seal key"},
		"a name without alias/":       {func(c *awskms.Config) { c.SealKey = "writ" }, "not the id or ARN"},
		"a key/ without its ARN":      {func(c *awskms.Config) { c.SealKey = "key/11111111-2222-3333-4444-555555555555" }, "not the id or ARN"},
		"an ARN of another service":   {func(c *awskms.Config) { c.SealKey = "arn:aws:s3:::bucket" }, "not the id or ARN"},
		"a line more":                 {func(c *awskms.Config) { c.SealKey = "alias/writ\n" }, "not the id or ARN"},
		"a key of AWS":                {func(c *awskms.Config) { c.SealKey = "alias/aws/s3" }, "only its services may use"},
		"another region's key":        {func(c *awskms.Config) { c.Region = "eu-other-1" }, "is in region eu-test-1"},
		"no region":                   {func(c *awskms.Config) { c.Region = "" }, "no region"},
		"no such profile":             {func(c *awskms.Config) { c.Profile = "nobody" }, "nobody"},
		"plain http":                  {func(c *awskms.Config) { c.Endpoint = "http://kms.example.com" }, "in the clear"},
		"an endpoint with a path":     {func(c *awskms.Config) { c.Endpoint = "https://kms.example.com/x" }, "https://host"},
		"an endpoint with a password": {func(c *awskms.Config) { c.Endpoint = "https://u:p@kms.example.com" }, "https://host"},
		"another scheme":              {func(c *awskms.Config) { c.Endpoint = "ftp://kms.example.com" }, "neither"},
		"no clock":                    {func(c *awskms.Config) { c.Now = nil }, "clock and logger"},
		"no logger":                   {func(c *awskms.Config) { c.Logger = nil }, "clock and logger"},
		"deleted too soon":            {func(c *awskms.Config) { c.DeleteAfter = 6 }, "7 to 30"},
		"deleted too late":            {func(c *awskms.Config) { c.DeleteAfter = 31 }, "7 to 30"},
		"a bound below nothing":       {func(c *awskms.Config) { c.Timeout = -time.Second }, "negative"},
		"the broker's own tag":        {func(c *awskms.Config) { c.Tags = map[string]string{"writ:ring": "x"} }, "writ:ring"},
		"a tag of AWS":                {func(c *awskms.Config) { c.Tags = map[string]string{"AWS:x": "x"} }, "AWS:x"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := w.config()
			row.change(&cfg)
			_, err := awskms.New(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("New = %v, want one that says %q", err, row.want)
			}
		})
	}
	for _, key := range []string{"mrk-0123456789abcdef0123456789abcdef", "alias/team/writ_1", "arn:aws-us-gov:kms:eu-test-1:111122223333:alias/writ"} {
		w.client(t, func(c *awskms.Config) { c.SealKey = key })
	}
	w.client(t, func(c *awskms.Config) { c.Endpoint, c.InsecureHTTP = "http://kms.example.com", true })
}

func TestAnEndpointOfTheEnvironmentIsHeldToTheSame(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Endpoint = ""
	t.Setenv("AWS_ENDPOINT_URL_KMS", "http://kms.example.com")
	if _, err := awskms.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "in the clear") {
		t.Errorf("New = %v", err)
	}
	t.Setenv("AWS_ENDPOINT_URL_KMS", w.URL)
	made(t, w.client(t, func(c *awskms.Config) { c.Endpoint = "" }).Sealing(), token.ES256)
}

func TestNewKeepsTheConfigurationAsItIs(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Timeout, cfg.Logger = 0, slog.New(slog.DiscardHandler)
	if _, err := awskms.New(t.Context(), cfg); err != nil || cfg.Timeout != 0 || cfg.Observe != nil {
		t.Errorf("New = %v and left %v", err, cfg.Timeout)
	}
}
