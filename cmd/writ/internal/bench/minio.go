package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/writbroker/writ/client"
)

const (
	// minioBuilt is where make puts the MinIO of the end-to-end tests, from the folder of go.mod.
	minioBuilt  = ".cache/bin/minio"
	minioUser   = "writ-bench"
	minioRegion = "us-east-1" // MinIO's own
	minioTries  = 5           // ports
	minioStart  = 30 * time.Second
	minioStop   = 10 * time.Second
)

// ErrNoMinIO: the part cannot be measured, for want of an STS.
var ErrNoMinIO = errors.New("there is no MinIO to measure with: make " + minioBuilt + " in the checkout builds one, --minio names one that is elsewhere")

// errEnded is what a server does that does not get its port.
var errEnded = errors.New("it ended at once")

// MinIO says which STS sessions are had from. Its zero value is the MinIO that make has built, if the
// working directory is in the checkout.
type MinIO struct {
	// Binary is MinIO's program. It is run on loopback, with its data in the run's own folder.
	Binary string
	// Address is the URL of an STS that is there already, in Region, and CredentialsFile holds the
	// credentials, in AWS's form, of one that may assume AWSRole. They come before Binary.
	Address, Region, CredentialsFile string
}

func (m MinIO) missing() error {
	if m.Address != "" {
		return nil
	}
	_, err := m.binary()
	return err
}

func (m MinIO) binary() (string, error) { return findServer(m.Binary, minioBuilt, ErrNoMinIO) }

// open gives an STS that answers, and what ends it. What it holds is in dir.
func (m MinIO) open(ctx context.Context, dir string) (*stsServer, error) {
	if m.Address != "" {
		s := &stsServer{kind: "given", address: m.Address, region: m.Region, credentials: m.CredentialsFile, stop: func() error { return nil }}
		return s, s.login(ctx)
	}
	path, err := m.binary()
	if err != nil {
		return nil, err
	}
	password := client.Secret(rand.Text())
	file := filepath.Join(dir, "credentials")
	text := "[default]\naws_access_key_id = " + minioUser + "\naws_secret_access_key = " + password.Reveal() + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing credentials for MinIO: %w", err)
	}
	for range minioTries { // somebody may take the port before the server does
		s := &stsServer{kind: "real", region: minioRegion, credentials: file}
		if err = s.run(ctx, path, dir, password); err == nil {
			return s, nil
		}
		if !errors.Is(err, errEnded) {
			break
		}
	}
	return nil, fmt.Errorf("starting %s: %w", path, err)
}

// run starts the program, and waits until it gives sessions: to whom has its password, so that it is no
// other server that has the port.
func (s *stsServer) run(ctx context.Context, path, dir string, password client.Secret) error {
	address, err := quietAddress(ctx)
	if err != nil {
		return err
	}
	console, err := quietAddress(ctx)
	if err != nil {
		return err
	}
	s.address = "http://" + address
	if err := s.login(ctx); err != nil {
		return err
	}
	running, kill := context.WithCancel(context.WithoutCancel(ctx))                                                                                 // the broker ends first
	cmd := exec.CommandContext(running, path, "server", "--quiet", "--address", address, "--console-address", console, filepath.Join(dir, "minio")) //nolint:gosec // the program that whoever measures names
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	// None of the caller's environment: what is in it for another MinIO would change what is measured.
	cmd.Env = []string{
		"HOME=" + dir, "MINIO_ROOT_USER=" + minioUser, "MINIO_ROOT_PASSWORD=" + password.Reveal(), "MINIO_BROWSER=off", "MINIO_UPDATE=off",
	}
	ended, err := s.start(cmd, kill)
	if err != nil {
		return err
	}
	if err := s.answers(ctx, ended); err != nil {
		_ = s.stop()
		return fmt.Errorf("%w: %s", err, log.Bytes())
	}
	return nil
}

// start starts a program that ends by SIGTERM where its context does, which kill ends. The channel is closed
// when it has ended.
func (s *stsServer) start(cmd *exec.Cmd, kill context.CancelFunc) (<-chan struct{}, error) {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = minioStop
	if err := cmd.Start(); err != nil {
		kill()
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // by a signal
		close(ended)
	}()
	s.stop = func() error {
		kill()
		<-ended
		return nil
	}
	return ended, nil
}

// answers waits for the first session.
func (s *stsServer) answers(ctx context.Context, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, minioStart)
	defer cancel()
	for {
		err := s.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("it gives no session: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// quietAddress is one that nobody listens on, for a server that cannot choose its own. It is below the
// ports that systems choose from for others: what starts meanwhile does not get it.
func quietAddress(ctx context.Context) (string, error) {
	const first, ports, looks = 12_000, 20_000, 100
	var err error
	for range looks {
		var n *big.Int
		if n, err = rand.Int(rand.Reader, big.NewInt(ports)); err != nil {
			return "", err
		}
		var ln net.Listener
		if ln, err = new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", first+n.Int64())); err == nil {
			return ln.Addr().String(), ln.Close()
		}
	}
	return "", fmt.Errorf("finding a port: %w", err)
}
