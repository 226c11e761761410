package awsagent

import (
	"context"
	"io/fs"

	"github.com/writbroker/writ/client"
)

// Keeper is what an Agent keeps its session with, without a listener: for time that a test tells.
type Keeper struct{ k *keeper }

func NewKeeper(cfg Config) Keeper { return Keeper{newKeeper(cfg)} }

func (k Keeper) Run(ctx context.Context) { k.k.run(ctx) }

func (k Keeper) Get(ctx context.Context) (*client.AWSCredentials, error) { return k.k.get(ctx) }

// What TokenFile asks of a file that is there already, for users that a test tells.

func CheckTokenFile(path string, mode fs.FileMode, owner, self int) error {
	return checkTokenFile(path, mode, owner, self)
}

func ReadToken(path string, self int) (client.Secret, error) { return readToken(path, self) }
