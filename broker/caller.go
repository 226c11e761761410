package broker

import "net/netip"

// ipText is an address for a record, empty where it is not known.
func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.Unmap().String()
}
