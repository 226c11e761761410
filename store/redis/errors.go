package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/writbroker/writ/store"
)

var (
	// ErrEviction: the server may drop keys when its memory is full.
	ErrEviction = errors.New("redis must not evict: set maxmemory-policy to noeviction")
	// ErrVersion: the server is older than Redis 7.
	ErrVersion = errors.New("redis is older than version 7")
)

// isReply reports whether the server itself answered with an error.
func isReply(err error) bool {
	_, ok := errors.AsType[goredis.Error](err)
	return ok
}

func isMoved(err error) bool {
	_, moved := movedTo(err)
	return moved
}

// movedTo reads where the slot is, from the error of a node that does not have it.
func movedTo(err error) (addr string, moved bool) {
	reply, ok := errors.AsType[goredis.Error](err)
	if !ok || !strings.HasPrefix(reply.Error(), "MOVED ") {
		return "", false
	}
	return reply.Error()[strings.LastIndexByte(reply.Error(), ' ')+1:], true
}

// classify maps what went wrong between client and server. Nearly all of it is that
// the store cannot be used now: a network that fails, CLUSTERDOWN, LOADING, READONLY,
// NOREPLICAS, MISCONF, OOM, NOAUTH, NOPERM. A key of another type is no work of ours.
func classify(err error) error {
	if reply, ok := errors.AsType[goredis.Error](err); ok && strings.HasPrefix(reply.Error(), "WRONGTYPE") {
		return fmt.Errorf("%w: %w", store.ErrForged, err)
	}
	for _, known := range []error{store.ErrUnavailable, store.ErrForged, ErrEviction, ErrVersion} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// SetLibraryLogger sends what the client library says of its connections to a
// logger, at debug level, instead of standard error. It changes the whole process:
// cmd calls it once, before it opens a store.
func SetLibraryLogger(l *slog.Logger) { goredis.SetLogger(libraryLogger{l}) }

type libraryLogger struct{ log *slog.Logger }

// Printf is the library's.
func (l libraryLogger) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, "redis client", "message", fmt.Sprintf(format, v...))
}
