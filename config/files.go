package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Mode bits that a secret may not have. A group may read a certificate's key, as
// Kubernetes mounts it; the root key is its owner's alone.
const (
	byAll    fs.FileMode = 0o007
	byOthers fs.FileMode = 0o077
)

// CheckFiles looks at what the file points to: that the files and directories
// that must exist do, and that secrets are readable by their owner alone. It
// changes nothing. The error is a *FaultsError that holds every fault.
func (c *Config) CheckFiles() error {
	k := &checker{config: c}
	k.directory("bundle.dir", c.Bundle.Dir)
	for _, l := range []struct {
		key string
		tls TLS
	}{{"public.tls", c.Public.TLS}, {"admin.tls", c.Admin.TLS}} {
		k.readable(l.key+".cert_file", l.tls.CertFile)
		k.secret(l.key+".key_file", l.tls.KeyFile, byAll)
		k.readable(l.key+".client_ca_file", l.tls.ClientCAFile)
	}
	for i, s := range c.Identity.Sources {
		key := fmt.Sprintf("identity.sources[%d].", i)
		k.readable(key+"jwks_file", s.JWKSFile)
		k.readable(key+"ca_file", s.CAFile)
		k.readable(key+"token_file", s.TokenFile)
		if s.X509 != nil {
			k.readable(key+"x509.bundle_file", s.X509.BundleFile)
		}
	}
	k.secret("audit.anchor.webhook.token_file", c.Audit.Anchor.Webhook.TokenFile, byAll)
	if _, err := os.Stat(c.RootKeyFile); c.Store.Kind == StoreRedis || !errors.Is(err, fs.ErrNotExist) {
		k.secret("root_key_file", c.RootKeyFile, byOthers)
	}
	k.redisFiles()
	k.custodyFiles()
	k.readable("aws.ca_file", c.AWS.CAFile)
	k.readable("aws.config_file", c.AWS.ConfigFile)
	k.secret("aws.credentials_file", c.AWS.CredentialsFile, byAll)
	if r := c.AWS.Revoker; r != nil {
		k.readable("aws.revoker.ca_file", r.CAFile)
		k.readable("aws.revoker.config_file", r.ConfigFile)
		k.secret("aws.revoker.credentials_file", r.CredentialsFile, byAll)
	}
	for _, p := range []struct{ key, path string }{
		{"store.path", filepath.Dir(c.Store.Path)},
		{"revocation.journal_dir", c.Revocation.JournalDir},
		{"audit.dir", c.Audit.Dir},
		{"root_key_file", filepath.Dir(c.RootKeyFile)},
		{"break_glass.socket", filepath.Dir(c.BreakGlass.Socket)},
	} {
		k.creatable(p.key, p.path)
	}
	return asError(k.faults)
}

func (k *checker) readable(key, path string) bool {
	if path == "" {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		k.fault(key, cause(path, err), "check the path and who may read it")
		return false
	}
	defer f.Close()
	return true
}

// secret is readable, and refuses a file with any of the mode bits in forbidden.
func (k *checker) secret(key, path string, forbidden fs.FileMode) {
	if !k.readable(key, path) {
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		k.fault(key, cause(path, err), "")
		return
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		k.fault(key, fmt.Sprintf("%s has mode %04o: others than its owner can read it", path, mode), "chmod 0600 "+path)
	}
}

func (k *checker) directory(key, path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		k.fault(key, cause(path, err), "check the path")
	case !info.IsDir():
		k.fault(key, path+" is not a directory", "name the directory that holds the files")
	}
}

// creatable holds for a directory that exists, or whose nearest ancestor is one.
func (k *checker) creatable(key, path string) {
	for {
		info, err := os.Stat(path)
		if err == nil {
			if !info.IsDir() {
				k.fault(key, path+" is not a directory", "choose another path")
			}
			return
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			k.fault(key, cause(path, err), "check the path")
			return
		}
		path = parent
	}
}

// cause is the error without the system call's name, which tells an operator nothing.
func cause(path string, err error) string {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Sprintf("%s: %v", path, err)
}
