package redis_test

import (
	"testing"

	"github.com/writbroker/writ/store/storetest"
)

// Everything here runs as a user that has the documented rights and no others.

func TestConformanceAlone(t *testing.T) {
	t.Parallel()
	storetest.Run(t, alone(t).backend)
}

func TestConformanceSentinel(t *testing.T) {
	t.Parallel()
	b, _ := watched(t)
	storetest.Run(t, b.backend)
}

func TestConformanceCluster(t *testing.T) {
	t.Parallel()
	b, _ := clustered(t)
	storetest.Run(t, b.backend)
}
