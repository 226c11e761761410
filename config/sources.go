package config

import (
	"errors"
	"fmt"

	"github.com/writbroker/writ/identity"
)

// sources lets identity judge its own part of the file, and names the lines.
func (k *checker) sources() {
	sources := k.config.Identity.Sources
	if len(sources) == 0 {
		k.fault("identity.sources", "is missing: nobody could authenticate", "add the issuer of your workloads' tokens")
		return
	}
	places := map[string]string{}
	for i, s := range sources {
		key := fmt.Sprintf("identity.sources[%d]", i)
		if _, ok := places[s.Name]; !ok {
			places[s.Name] = key
		}
	}
	registry, err := identity.Compile(sources)
	if err == nil {
		// With the presets applied: one of them may be what asks for certificates.
		sources = registry.Sources()
	}
	for i, s := range sources {
		if s.X509 != nil && !k.config.Public.TLS.Enabled() {
			k.fault(fmt.Sprintf("identity.sources[%d].x509", i),
				"needs client certificates, and the public listener has no TLS", "set public.tls")
		}
	}
	for _, e := range each(err) {
		key, message := "identity.sources", e.Error()
		if fault, ok := errors.AsType[*identity.SourceError](e); ok {
			message = fault.Message
			if place, ok := places[fault.Source]; ok {
				key = place
			}
			if fault.Field != "" {
				key += "." + fault.Field
			}
		}
		k.fault(key, message, "")
	}
}

// each returns the errors that errors.Join put together.
func each(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}
