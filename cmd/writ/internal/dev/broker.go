package dev

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/writbroker/writ/client"
	"github.com/writbroker/writ/config"
	"github.com/writbroker/writ/examples"
	"github.com/writbroker/writ/httpapi/wire"
	"github.com/writbroker/writ/keys"
)

//go:embed writ.yaml.tmpl
var configuration string

const (
	// maxSocket is what every system's socket addresses hold, less the ending under which
	// the broker makes its socket before it moves it into place.
	maxSocket    = 103 - len(".new")
	startTimeout = 15 * time.Second
)

// configure writes the broker's configuration and its policy bundle, and reads them as
// `writ serve` does.
func (w *World) configure(redis *Redis) (*config.Config, error) {
	if err := writeBundle(w.BundleDir()); err != nil {
		return nil, err
	}
	if err := w.placeSocket(); err != nil {
		return nil, err
	}
	file, err := template.New("configuration").Funcs(template.FuncMap{"quote": quote}).Parse(configuration)
	if err != nil {
		return nil, fmt.Errorf("reading configuration template: %w", err)
	}
	var text strings.Builder
	if redis != nil { // replicas have it in common, so that no broker makes it by itself
		if _, err := keys.LoadOrCreateRoot(filepath.Join(w.dir, "root.key")); err != nil {
			return nil, err
		}
	}
	err = file.Execute(&text, map[string]any{
		"Redis":  redis,
		"Issuer": w.Issuer(), "Public": w.public.Addr().String(), "Data": w.dir, "Bundle": w.BundleDir(), "Socket": w.socket,
		"Cluster": w.idp.cluster.url, "ClusterPrefix": clusterPrefix,
		"People": w.idp.people.url, "PeoplePrefix": peoplePrefix, "PeopleAudience": peopleAudience,
		"Witness": w.idp.url + pathAnchor,
	})
	if err != nil {
		return nil, fmt.Errorf("writing configuration: %w", err)
	}
	if err := replaceFile(w.ConfigFile(), text.String()+"\n"+w.more); err != nil {
		return nil, err
	}
	return config.Load(w.ConfigFile())
}

// quote writes a YAML string; a JSON string is one.
func quote(text string) string { return fmt.Sprintf("%q", text) }

// placeSocket puts the break-glass socket into the data directory, unless its path would be
// too long for an address.
func (w *World) placeSocket() error {
	w.socket = filepath.Join(w.dir, "break-glass.sock")
	if len(w.socket) <= maxSocket {
		return nil
	}
	dir, err := os.MkdirTemp("/tmp", "writ-")
	if err != nil {
		return fmt.Errorf("making directory of break-glass socket: %w", err)
	}
	w.onClose(func() error { return os.RemoveAll(dir) })
	w.socket = filepath.Join(dir, "break-glass.sock")
	return nil
}

// writeBundle copies the shipped bundle to dir, unless there is one: whoever started here
// before may have edited it.
func writeBundle(dir string) error {
	switch _, err := os.Stat(dir); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("looking for policy bundle: %w", err)
	}
	next := dir + ".new" // moved into place when it is whole
	if err := errors.Join(os.RemoveAll(next), os.Mkdir(next, 0o700)); err != nil {
		return fmt.Errorf("writing policy bundle: %w", err)
	}
	if err := copyBundle(next); err != nil {
		return fmt.Errorf("writing policy bundle: %w", err)
	}
	if err := os.Rename(next, dir); err != nil {
		return fmt.Errorf("writing policy bundle: %w", err)
	}
	return nil
}

// copyBundle does not use os.CopyFS: embedded files are read-only, these are there to be edited.
func copyBundle(dir string) (err error) {
	bundle, err := examples.Bundle()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return fs.WalkDir(bundle, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return root.MkdirAll(path, 0o700)
		}
		text, err := fs.ReadFile(bundle, path)
		if err != nil {
			return err
		}
		return root.WriteFile(path, text, 0o600)
	})
}

// replaceFile writes a file that its owner alone can read, in one step for readers.
func replaceFile(path, text string) error {
	next := path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// ready waits until the broker says that it may be sent requests.
func (w *World) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	transport := client.NewTransport(nil)
	defer transport.CloseIdleConnections()
	for {
		err := askReady(ctx, &http.Client{Transport: transport}, w.Issuer()+wire.PathReady)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for broker: %w", err)
		case err := <-w.failed:
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func askReady(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d", url, resp.StatusCode)
	}
	return nil
}
