package vault_test

import (
	"testing"

	"github.com/writbroker/writ/internal/vaulttest"
	"github.com/writbroker/writ/internal/vaulttest/vaultcases"
)

// The same cases run against a real Vault in the end-to-end tests.

func fake(t *testing.T) *vaultcases.Bed { return vaultcases.Fake(vaulttest.Start(t)) }

func TestConformance(t *testing.T) {
	t.Parallel()
	vaultcases.Custodies(t, fake)
}

func TestCases(t *testing.T) {
	t.Parallel()
	vaultcases.Run(t, fake)
}
