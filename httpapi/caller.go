package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/writbroker/writ/broker"
)

// caller is what the connection says of whoever sent the request.
func (a *API) caller(r *http.Request) broker.Caller {
	c := broker.Caller{IP: a.address(r)}
	if r.TLS != nil {
		c.Certificates = r.TLS.PeerCertificates
	}
	return c
}

// address is the peer's, or, behind configured proxies, the last address in X-Forwarded-For
// that is not one of them: what stands before it was written by strangers.
func (a *API) address(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	if len(a.cfg.TrustedProxies) == 0 || !a.trusted(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		hop, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			return addr
		}
		addr = hop.Unmap()
		if !a.trusted(addr) {
			return addr
		}
	}
	return addr
}

func (a *API) trusted(addr netip.Addr) bool {
	for _, p := range a.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
