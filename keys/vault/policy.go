package vault

import (
	"fmt"
	"strings"
)

// PolicyHCL is the least policy that the broker's token needs in Vault for what is
// configured, in Vault's language: the exact paths, and none that could read a key out,
// make one that can be, or lower what is required of one. The configuration need not
// be complete: where Vault is and how to log in take no part.
func PolicyHCL(cfg Config) string {
	// Faults of what does not matter here are of no interest; New reports them.
	cfg, _ = cfg.withDefaults()
	var out strings.Builder
	grant := func(why, path string, rules ...string) {
		fmt.Fprintf(&out, "# %s\npath %q {\n", why, path)
		for _, rule := range rules {
			fmt.Fprintf(&out, "  %s\n", rule)
		}
		out.WriteString("}\n\n")
	}
	const read, update = `capabilities = ["read"]`, `capabilities = ["update"]`
	if cfg.SealKey != "" {
		grant("What kind of key seals.", cfg.Transit+"/keys/"+cfg.SealKey, read)
		grant("Seal a private key that was made.", cfg.Transit+"/encrypt/"+cfg.SealKey, update)
		grant("Open a sealed private key.", cfg.Transit+"/decrypt/"+cfg.SealKey, update)
	}
	for _, ring := range cfg.Rings {
		if cfg.SignKeys != "" {
			for _, k := range kinds() {
				name := cfg.signKey(ring, k)
				grant("Make the key, only as one that cannot be exported, and read its public halves.", cfg.Transit+"/keys/"+name,
					`capabilities = ["create", "update", "read"]`, fmt.Sprintf("allowed_parameters = { \"type\" = [%q] }", k.keyType))
				grant("Add a version.", cfg.Transit+"/keys/"+name+"/rotate", update)
				grant("Sign.", cfg.Transit+"/sign/"+name+"/sha2-256", update)
				grant("Bind a version to its place in the ring.", cfg.Transit+"/hmac/"+name+"/sha2-256", update)
			}
		}
		if cfg.KV != "" {
			grant("Anchor the ring's version.", cfg.KV+"/data/"+cfg.KVPath+"/"+ring, `capabilities = ["create", "update", "read"]`)
		}
	}
	grant("Tell a token that is gone from one that may not.", "auth/token/lookup-self", read)
	grant("Keep the token.", "auth/token/renew-self", update)
	grant("Give the token back.", "auth/token/revoke-self", update)
	return strings.TrimSuffix(out.String(), "\n")
}
