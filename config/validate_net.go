package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

func (k *checker) issuer() {
	const key = "issuer"
	issuer := k.config.Issuer
	if !k.require(key, issuer, "set the https URL at which agents and verifiers reach the broker") {
		return
	}
	u := k.url(key, issuer)
	if u == nil {
		return
	}
	switch {
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(issuer, "#"):
		k.fault(key, "has a query or a fragment", "remove it (RFC 8414, section 2)")
	case strings.HasSuffix(issuer, "/"):
		k.fault(key, "ends in a slash", "remove it: tokens are compared to it byte for byte")
	case strings.ToLower(u.Scheme+"://"+u.Host) != u.Scheme+"://"+u.Host:
		k.fault(key, "has upper-case letters in scheme or host", "write them in lower case")
	}
}

// url reports what is no https URL with a host; http is good on loopback only.
func (k *checker) url(key, text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		k.fault(key, fmt.Sprintf("%q is not an absolute URL without user and password", text), "write it as https://host/path")
		return nil
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		k.fault(key, fmt.Sprintf("%q is not https", text), "http is accepted on loopback only")
		return nil
	}
	return u
}

func (k *checker) listeners() {
	c := k.config
	k.listener("public", c.Public)
	k.listener("admin", c.Admin)
	if c.Public.Address == c.Admin.Address && !strings.HasSuffix(c.Admin.Address, ":0") {
		k.fault("admin.address", "is the public listener's address", "administration has a listener of its own: choose another port")
	}
}

func (k *checker) listener(key string, l Listener) {
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil || !isPort(port) {
		k.fault(key+".address", fmt.Sprintf("%q is not host:port", l.Address), `write it as "127.0.0.1:8443", or ":8443" for every interface`)
		return
	}
	t := l.TLS
	if (t.CertFile == "") != (t.KeyFile == "") {
		k.fault(key+".tls", "has only one of cert_file and key_file", "set both, or neither")
		return
	}
	if t.ClientCAFile != "" && !t.Enabled() {
		k.fault(key+".tls.client_ca_file", "is set, but the listener has no certificate", "set cert_file and key_file")
	}
	switch {
	case t.Enabled() && l.InsecureHTTP:
		k.fault(key+".insecure_http", "is set on a listener that has TLS", "remove it")
	case !t.Enabled() && !l.InsecureHTTP && !isLoopback(host):
		k.fault(key+".tls", fmt.Sprintf("is missing, and %q is reachable from outside: tokens would cross the network in the clear", l.Address),
			"set cert_file and key_file, or listen on loopback; behind a proxy that terminates TLS, write insecure_http: true")
	}
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 0 && n <= 65535
}

// isLoopback holds for the name localhost and for loopback addresses, not for a
// name that happens to resolve to one.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (k *checker) proxies() {
	for i, text := range k.config.TrustedProxies {
		key := fmt.Sprintf("trusted_proxies[%d]", i)
		prefix, err := parseProxy(text)
		switch {
		case err != nil:
			k.fault(key, fmt.Sprintf("%q is not an address or a CIDR range", text), `write it as "10.0.0.0/8" or "10.1.2.3"`)
		case prefix.Bits() == 0:
			k.fault(key, "trusts every address: any caller could name its own source_ip", "name the proxies")
		}
	}
}

func parseProxy(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Prefix(a.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// Proxies returns TrustedProxies as prefixes. Of a Config that Load returned,
// each of them parses.
func (c *Config) Proxies() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(c.TrustedProxies))
	for _, text := range c.TrustedProxies {
		if p, err := parseProxy(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// maxSocketPath is what a Unix socket's address holds on macOS (on Linux it is 4 more), less
// its final zero and the ".new" under which the socket is made.
const maxSocketPath = 99

func (k *checker) places() {
	c := k.config
	k.require("data_dir", c.DataDir, "set the directory that holds the broker's state")
	k.store()
	if k.require("bundle.dir", c.Bundle.Dir, "set the directory of the policy bundle") {
		k.between("bundle.reload", c.Bundle.Reload, time.Second, time.Hour)
	}
	if len(c.BreakGlass.Socket) > maxSocketPath {
		k.fault("break_glass.socket", fmt.Sprintf("is longer than the %d bytes that fit a socket's address", maxSocketPath), "choose a shorter path")
	}
	for i, uid := range c.BreakGlass.UIDs {
		if uid < 0 {
			k.fault(fmt.Sprintf("break_glass.uids[%d]", i), fmt.Sprintf("%d is not a user id", uid), "use the numeric id of a user")
		}
	}
	k.count("identity.cache_entries", int64(c.Identity.CacheEntries), 0, 10_000_000)
	k.between("identity.jwks_max_stale", c.Identity.JWKSMaxStale, time.Minute, 24*time.Hour)
}
