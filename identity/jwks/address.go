package jwks

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// errAddress is what dialing a forbidden address gives.
var errAddress = errors.New("address is not allowed")

// special are the ranges that are not the public internet, beyond those that net/netip knows. The last
// ones embed or tunnel to an IPv4 address that no check here would see.
func special() []netip.Prefix {
	ranges := []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/128", "100::/64", "2001:db8::/32", "fec0::/10", "3fff::/20", "5f00::/16",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16",
	}
	out := make([]netip.Prefix, len(ranges))
	for i, text := range ranges {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// metadata are the addresses of the clouds' metadata services that are not link-local. They hand out
// credentials, so that no configuration opens them.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"), netip.MustParseAddr("100.100.100.200"),
	}
}

// guard decides which addresses may be dialed. It sees the address that a connection is about to be made to,
// after name resolution: a name that changes its mind between a check and the connection gains nothing.
type guard struct {
	private bool // loopback and private networks are open
	special []netip.Prefix
	never   []netip.Addr
}

func newGuard(private bool) *guard {
	return &guard{private: private, special: special(), never: metadata()}
}

// control is for net.Dialer.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", errAddress, err)
	}
	return g.check(target.Addr())
}

func (g *guard) check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	if addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() {
		return fmt.Errorf("%w: link-local, multicast or unspecified", errAddress)
	}
	if slices.Contains(g.never, addr) {
		return fmt.Errorf("%w: a metadata service", errAddress)
	}
	if g.private {
		return nil
	}
	if addr.IsLoopback() || addr.IsPrivate() {
		return fmt.Errorf("%w: private (allow_private_addresses is off)", errAddress)
	}
	for _, prefix := range g.special {
		if prefix.Contains(addr) {
			return fmt.Errorf("%w: not public (allow_private_addresses is off)", errAddress)
		}
	}
	return nil
}
