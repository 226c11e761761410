package jwks

import "net/netip"

// CheckAddress is what dialing an address gives.
func CheckAddress(addr netip.Addr, private bool) error { return newGuard(private).check(addr) }
