package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/writbroker/writ/cmd/writ/internal/app"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/httpapi/wire"
)

const startTimeout = 90 * time.Second // above what the largest list of rules may take

// configuration of the broker that is measured: the defaults, but for rate limits, which
// are there but never reached.
const configuration = `
issuer: %q
public: {address: %q}
admin: {address: "127.0.0.1:0"}
break_glass: {socket: %q}
data_dir: %q
bundle: {dir: %q}
environment: {stage: prod, freeze: "false"}
rate_limits: {per_agent: {rate: 1000000, burst: 1000000}, unauthenticated: {rate: 1000000, burst: 1000000}}
identity:
  sources:
    - name: %s
      preset: kubernetes
      issuer: %s
      jwks_file: %q
      audiences: [%q]
`

// broker is a broker as `writ serve` runs it, in this process.
type broker struct {
	url, admin string
	socket     string // break-glass
	issuer     *issuer
	stop       func() error
	took       time.Duration // from its start until it was ready
}

// host is the address of the public listener.
func (b *broker) host() string { return strings.TrimPrefix(b.url, "http://") }

// fleet is what replicas have in common. The first one's address is the issuer of all.
type fleet struct {
	redis    string // its address
	database int
	root     string // file of the root key
	url      string
	issuer   *issuer
}

// startBroker starts a broker with everything it has in a new folder under the run's own.
func (r *run) startBroker(ctx context.Context, name string) (*broker, error) {
	return r.startConfigured(ctx, name, nil, "")
}

// startReplica starts a broker that shares a store with others, or, without a fleet, has one of
// its own. One that was there before goes on with the data that it left.
func (r *run) startReplica(ctx context.Context, name string, f *fleet) (*broker, error) {
	return r.startConfigured(ctx, name, f, "")
}

// startConfigured adds to its configuration.
func (r *run) startConfigured(ctx context.Context, name string, f *fleet, more string) (*broker, error) {
	dir := filepath.Join(r.dir, name)
	bundle := filepath.Join(dir, "bundle")
	if err := writeBundle(bundle, r.sizes.Roles, r.sizes.Bindings); err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	b := &broker{url: "http://" + ln.Addr().String()}
	cfg, err := b.configure(dir, bundle, ln.Addr().String(), f, more)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	began := time.Now()
	a, err := app.Start(ctx, cfg, app.Options{Public: ln})
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	b.admin = "http://" + a.AdminAddr().String()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	b.stop = func() error {
		cancel()
		return <-ended
	}
	if err := b.ready(ctx); err != nil {
		return nil, errors.Join(err, b.stop())
	}
	b.took = time.Since(began)
	return b, nil
}

func (b *broker) configure(dir, bundle, address string, f *fleet, more string) (*config.Config, error) {
	url := b.url
	if f != nil {
		if f.issuer == nil {
			var err error
			if f.issuer, err = newIssuer(b.url); err != nil {
				return nil, err
			}
			f.url = b.url
		}
		b.issuer, url = f.issuer, f.url
		more += fmt.Sprintf("root_key_file: %q\nstore: {kind: redis, redis: {addresses: [%q], database: %d}}\n", f.root, f.redis, f.database)
	} else {
		var err error
		if b.issuer, err = newIssuer(b.url); err != nil {
			return nil, err
		}
	}
	jwks, err := b.issuer.writeJWKS(dir)
	if err != nil {
		return nil, err
	}
	// The socket's path must fit an address, wherever the folder is.
	b.socket = filepath.Join("/tmp", filepath.Base(filepath.Dir(dir))+"-"+filepath.Base(dir)+".sock")
	text := fmt.Sprintf(configuration, url, address, b.socket, filepath.Join(dir, "data"), bundle, source, issuerURL, jwks, url) + more
	file := filepath.Join(dir, "writ.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing configuration: %w", err)
	}
	return config.Load(file)
}

// ready waits until the broker says that it may be sent requests.
func (b *broker) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+wire.PathReady, nil)
		if err != nil {
			return err
		}
		resp, err := new(http.Client).Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for broker: %w", errors.Join(ctx.Err(), err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}
