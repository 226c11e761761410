package vault

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Observe is told the end of every call of Vault: op is "login", "renew", "encrypt",
// "decrypt", "sign", "rotate", "key", "hmac" or "anchor"; What(err) is the label that goes with it. It
// must not block.
type Observe func(op string, err error)

// Config says where Vault is, how to log in, and what there is the broker's. It is not
// changed.
type Config struct {
	// Address is https://host:port; plain http only to loopback, or with InsecureHTTP.
	Address      string
	Namespace    string // "" = the root's
	CAFile       string // PEM of the authorities that Vault's certificate may come from; "" = the system's
	InsecureHTTP bool   // tokens and keys travel in the clear
	Login        Login

	Rings    []string // the rings that are kept here; at least one
	Transit  string   // mount of Transit; "" = "transit"
	SealKey  string   // Sealing: key that seals, of type aes256-gcm96; "" = not used
	SignKeys string   // Signing: prefix of the names of the keys that sign; "" = not used
	KV       string   // Anchor: mount of a KV v2; "" = not used
	KVPath   string   // Anchor: path below it; "" = "writ"

	// Timeout bounds one call, a login that it needs included; 0 = 5 s.
	Timeout time.Duration
	// BatchSize is how many signatures one call of Vault may make; 0 = 64, 1 = no batches.
	BatchSize int
	// Flights is how many calls that sign with one key are under way at once; 0 = 2, or 64
	// without batches. What comes meanwhile waits for the next batch.
	Flights int
	// QueueSize is how many signatures may wait for one key; more are refused. 0 = 1024.
	QueueSize int
	// BreakAfter is how many calls in a row may find Vault unavailable before none is
	// made for a while; 0 = 5.
	BreakAfter int
	// ProbeEvery is about how often Vault is tried once that has happened; 0 = 1 s.
	ProbeEvery time.Duration

	Now     func() time.Time // required
	Logger  *slog.Logger     // required
	Observe Observe          // optional
}

const (
	defaultTimeout = 5 * time.Second
	defaultBatch   = 64
	defaultFlights = 2
	defaultQueue   = 1024
	defaultBreak   = 5
	defaultProbe   = time.Second
)

// A name becomes part of a path in Vault, and of a policy: nothing in it may mean more.
var (
	namePattern  = regexp.MustCompile(`\A(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?)\z`)
	mountPattern = regexp.MustCompile(`\A(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*)\z`)
)

// withDefaults returns a copy that is complete, or every fault.
func (c Config) withDefaults() (Config, error) {
	orString(&c.Transit, "transit")
	orString(&c.KVPath, "writ")
	orNumber(&c.Timeout, defaultTimeout)
	orNumber(&c.BatchSize, defaultBatch)
	if c.BatchSize == 1 {
		orNumber(&c.Flights, defaultBatch)
	}
	orNumber(&c.Flights, defaultFlights)
	orNumber(&c.QueueSize, defaultQueue)
	orNumber(&c.BreakAfter, defaultBreak)
	orNumber(&c.ProbeEvery, defaultProbe)
	if c.Observe == nil {
		c.Observe = func(string, error) {}
	}
	var err error
	c.Login, err = c.Login.withDefaults()
	return c, errors.Join(err, c.validate())
}

func orString(value *string, standard string) {
	if *value == "" {
		*value = standard
	}
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
			faults = append(faults, fmt.Errorf("vault: "+format, args...))
		}
	}
	faults = append(faults, checkAddress(c.Address, c.InsecureHTTP))
	fault(c.Now == nil || c.Logger == nil, "clock and logger are required")
	fault(len(c.Rings) == 0, "no ring is named")
	fault(c.SealKey == "" && c.SignKeys == "" && c.KV == "", "nothing is kept here: name the key that seals, the keys that sign or the mount of the anchor")
	for _, ring := range c.Rings {
		fault(!namePattern.MatchString(ring), "ring %q cannot be part of a path", ring)
	}
	for what, name := range map[string]string{"seal key": c.SealKey, "sign keys": c.SignKeys} {
		fault(name != "" && !namePattern.MatchString(name), "%s %q is not the name of a key", what, name)
	}
	for what, path := range map[string]string{"transit mount": c.Transit, "kv mount": c.KV, "kv path": c.KVPath} {
		fault(path != "" && !mountPattern.MatchString(path), "%s %q is not a path: no slash at its ends, no other signs than letters, digits, - _ .", what, path)
	}
	fault(min(int64(c.Timeout), int64(c.ProbeEvery), int64(c.BatchSize), int64(c.Flights), int64(c.QueueSize), int64(c.BreakAfter)) < 0, "a bound is negative")
	return errors.Join(faults...)
}

func checkAddress(address string, insecure bool) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("vault: address is not of the form https://host:port")
	}
	switch {
	case u.Scheme == "https", u.Scheme == "http" && (insecure || loopback(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return errors.New("vault: address is plain http: tokens and keys would travel in the clear; use https, or say so")
	}
	return errors.New("vault: address is neither https nor http")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
