package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/keys/vault"
)

func (e *env) keysCommand() *cobra.Command {
	var a access
	group := &cobra.Command{Use: "keys", Short: "see and rotate the signing keys"}
	a.flags(group.PersistentFlags())
	group.AddCommand(&cobra.Command{
		Use: "list", Short: "list the keys and their states", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return e.keysList(c.Context(), &a) },
	}, e.rotateCommand(&a), e.vaultPolicyCommand())
	return group
}

func (e *env) vaultPolicyCommand() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "vault-policy", Short: "print the least policy that the broker needs in Vault", Args: cobra.NoArgs,
		Long: "Print, in Vault's language, what the broker's token must be allowed for the keys.vault of a\nconfiguration, and nothing more: writ keys vault-policy --config F | vault policy write writ -",
		RunE: func(*cobra.Command, []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			if !cfg.Keys.Vault.Enabled() {
				return hinted(ExitFailed, fmt.Errorf("%s keeps no keys in Vault", file), "set keys.vault")
			}
			policy := vault.PolicyHCL(app.VaultConfig(cfg))
			return e.print(map[string]string{"policy": policy}, func(w io.Writer) { line(w, "%s", policy) })
		},
	}
	c.Flags().StringVar(&file, "config", "", "configuration file")
	_ = c.MarkFlagRequired("config")
	return c
}

func (e *env) keysList(ctx context.Context, a *access) error {
	admin, err := a.connect("writ:keys:read")
	if err != nil {
		return err
	}
	list, err := admin.Keys(ctx)
	if err != nil {
		return err
	}
	return e.print(list, func(w io.Writer) {
		line(w, "ring version %d, algorithm %s, custody %s", list.Version, list.Algorithm, list.Custody)
		printKeys(w, list.Keys)
		if list.NextRotation != nil {
			line(w, "next rotation about %s", list.NextRotation.Format(time.RFC3339))
		}
		if list.Waiting != nil {
			printKeyWait(w, list.Waiting)
		}
	})
}

func printKeyWait(w io.Writer, wait *wire.KeyWait) {
	line(w, "%s is due to sign, and waits until %s for %d connected verifiers that have not reported it",
		wait.ID, wait.Until.Format(time.RFC3339), wait.Total)
	for _, v := range wait.Verifiers {
		line(w, "  %s", v)
	}
	if more := wait.Total - len(wait.Verifiers); more > 0 {
		line(w, "  and %d more", more)
	}
}

func printKeys(w io.Writer, keys []wire.Key) {
	for _, k := range keys {
		since := k.Created
		for _, t := range []*time.Time{k.Published, k.Activated, k.Retired} {
			if t != nil {
				since = *t
			}
		}
		line(w, "%s  %-7s %-7s since %s  %s  %s", k.ID, k.State, k.Algorithm, since.Format(time.RFC3339), k.Custody, k.Reason)
	}
}

func (e *env) rotateCommand(a *access) *cobra.Command {
	var in wire.RotateRequest
	c := &cobra.Command{
		Use: "rotate", Short: "activate the published next key (a dry run until --apply or --now)", Args: cobra.NoArgs,
		Long: "A rotation without --revoke is noticed by nobody: the old key stays published until its last\ntoken has expired. With --revoke KID every token of that key, and every descendant, is refused\nfor good. A key that was published a moment ago is not activated, unless --now says so.",
		RunE: func(c *cobra.Command, _ []string) error {
			in.Apply = in.Apply || in.Now
			return e.rotate(c.Context(), a, in)
		},
	}
	c.Flags().BoolVar(&in.Apply, "apply", false, "do it")
	c.Flags().BoolVar(&in.Now, "now", false, "do it, in an emergency: verifiers may have to fetch the next key first")
	c.Flags().StringVar(&in.RevokeKID, "revoke", "", "kid of a key that leaked")
	c.Flags().StringVar(&in.Reason, "reason", "", "why, for the record")
	return c
}

func (e *env) rotate(ctx context.Context, a *access, in wire.RotateRequest) error {
	admin, err := a.connect("writ:keys:rotate")
	if err != nil {
		return err
	}
	resp, err := admin.Rotate(ctx, in)
	if err != nil {
		return err
	}
	return e.print(resp, func(w io.Writer) {
		if resp.Applied {
			line(w, "rotated: %s signs, %s has retired", resp.Activated, resp.Retired)
		} else {
			line(w, "nothing was changed; --apply lets %s sign and retires %s", resp.Activated, resp.Retired)
		}
		printKeys(w, resp.Keys)
		if resp.Revocation != nil {
			printRevocation(w, resp.Revocation)
		}
	})
}
