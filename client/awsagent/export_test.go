package awsagent

import (
	"context"

	"github.com/writbroker/writ/client"
)

// Keeper is what an Agent keeps its session with, without a listener: for time that a test tells.
type Keeper struct{ k *keeper }

func NewKeeper(cfg Config) Keeper { return Keeper{newKeeper(cfg)} }

func (k Keeper) Run(ctx context.Context) { k.k.run(ctx) }

func (k Keeper) Get(ctx context.Context) (*client.AWSCredentials, error) { return k.k.get(ctx) }
