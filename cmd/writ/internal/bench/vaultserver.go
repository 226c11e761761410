package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/writbroker/writ/client"
)

// vaultBuilt is where make puts the small Vault of the end-to-end tests, from the folder of go.mod.
const (
	vaultBuilt = ".cache/bin/vaultdev"
	vaultStart = 30 * time.Second
	vaultCall  = 10 * time.Second
)

// ErrNoVault: the part cannot be measured, for want of a Vault.
var ErrNoVault = errors.New("there is no Vault to measure with: make " + vaultBuilt + " in the checkout builds one, --vault names one that is elsewhere")

// Vault says which Vault keys are kept in. Its zero value is the one that make has built, if the working
// directory is in the checkout.
type Vault struct {
	// Binary is the program that is run, which does as e2e/vaultdev: it serves on loopback, says in one
	// line of JSON where, and ends with its standard input.
	Binary string
	// Address is that of a Vault that is there already, and TokenFile holds a token that may make mounts,
	// policies and tokens in it. They come before Binary. What was made is removed again.
	Address, TokenFile string
}

func (v Vault) missing() error {
	if v.Address != "" {
		return nil
	}
	_, err := v.binary()
	return err
}

func (v Vault) binary() (string, error) { return findServer(v.Binary, vaultBuilt, ErrNoVault) }

// findServer is the path of a server's program: the one that is named, or else the one that make has built
// in the checkout which the working directory is in. The error is that of there being none.
func findServer(named, built string, none error) (string, error) {
	if named != "" {
		if _, err := os.Stat(named); err != nil {
			return "", fmt.Errorf("%w (%w)", none, err)
		}
		return filepath.Abs(named)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("%w (%w)", none, err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			if path := filepath.Join(dir, built); isFile(path) {
				return path, nil
			}
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", none
		}
		dir = up
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// vaultServer is a Vault with all rights in it.
type vaultServer struct {
	address string
	token   client.Secret
	http    *http.Client
	stop    func() error
}

func (v Vault) open(ctx context.Context) (*vaultServer, error) {
	s := &vaultServer{address: v.Address, http: &http.Client{Transport: &http.Transport{}, Timeout: vaultCall}, stop: func() error { return nil }}
	if v.Address == "" {
		path, err := v.binary()
		if err != nil {
			return nil, err
		}
		if err := s.run(ctx, path); err != nil {
			return nil, fmt.Errorf("starting %s: %w", path, err)
		}
		return s, nil
	}
	text, err := os.ReadFile(v.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("reading token for Vault: %w", err)
	}
	s.token = client.Secret(bytes.TrimSpace(text))
	return s, nil
}

// run starts the program, and waits until it serves.
func (s *vaultServer) run(ctx context.Context, path string) error {
	running, kill := context.WithCancel(context.WithoutCancel(ctx)) // the brokers end first
	cmd := exec.CommandContext(running, path)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	stdin, err := cmd.StdinPipe()
	if err != nil {
		kill()
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		kill()
		return err
	}
	s.stop = func() error {
		_ = stdin.Close() // it ends with its input
		impatient := time.AfterFunc(vaultCall, kill)
		defer kill()
		defer impatient.Stop()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("vault ended badly: %w: %s", err, complaints.Bytes())
		}
		return nil
	}
	slow := time.AfterFunc(vaultStart, kill)
	defer slow.Stop()
	text, err := bufio.NewReader(stdout).ReadBytes('\n')
	var line struct {
		Address   string        `json:"address"`
		RootToken client.Secret `json:"root_token"`
	}
	if err == nil {
		err = json.Unmarshal(text, &line)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("it does not say where it serves: %w", err), s.stop())
	}
	s.address, s.token = line.Address, line.RootToken
	return nil
}

func (s *vaultServer) close() error {
	s.http.CloseIdleConnections()
	return s.stop()
}

// call makes one call with all rights. A nil in sends nothing, a nil out takes nothing.
func (s *vaultServer) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("calling Vault: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.address+"/v1/"+path, body)
	if err != nil {
		return fmt.Errorf("calling Vault: %w", err)
	}
	req.Header.Set("X-Vault-Token", s.token.Reveal())
	resp, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("calling Vault: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode >= http.StatusMultipleChoices {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return fmt.Errorf("calling Vault: %s %s: %s: %s", method, path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("calling Vault: %s %s: %w", method, path, err)
	}
	return nil
}
