package vaulttest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// transit is a Transit engine.
type transit struct{ keys map[string]*transitKey }

type transitKey struct {
	kind       string
	derived    bool
	exportable bool
	versions   []keyVersion // version n is at n-1
}

func (e *transit) exists(path string) bool {
	operation, name, _ := strings.Cut(path, "/")
	// Only encrypt makes a key where there is none, and so tells the two apart.
	return operation != "encrypt" || e.keys[name] != nil
}

func (e *transit) handle(r *request) (any, error) {
	parts := strings.Split(r.path, "/")
	if len(parts) < 2 || !slices.Contains([]string{"keys", "encrypt", "decrypt", "sign", "hmac"}, parts[0]) {
		return nil, refuse(http.StatusNotFound, "unsupported path")
	}
	operation, key := parts[0], e.keys[parts[1]]
	switch {
	case operation == "keys" && len(parts) == 2 && r.method == http.MethodPut:
		return e.create(parts[1], r)
	case operation == "keys" && len(parts) == 2 && r.method == http.MethodGet && key == nil:
		return nil, refuse(http.StatusNotFound)
	case operation == "keys" && len(parts) == 2 && r.method == http.MethodGet:
		return key.describe(), nil
	case key == nil && operation == "sign":
		return nil, refuse(http.StatusBadRequest, "signing key not found")
	case key == nil && operation == "keys":
		return nil, refuse(http.StatusBadRequest, "key not found")
	case key == nil:
		return nil, refuse(http.StatusBadRequest, "encryption key not found")
	case operation == "keys" && len(parts) == 3 && parts[2] == "rotate":
		err := key.rotate()
		return key.describe(), err
	case operation == "keys" && len(parts) == 3 && parts[2] == "config":
		return nil, key.configure(r)
	case operation == "encrypt":
		return key.encrypt(r)
	case operation == "decrypt":
		return key.decrypt(r)
	case operation == "sign":
		return key.sign(r)
	case operation == "hmac":
		return key.hmac(r)
	}
	return nil, refuse(http.StatusNotFound, "unsupported path")
}

func (e *transit) create(name string, r *request) (any, error) {
	in := struct {
		Type       string
		Derived    bool
		Exportable bool
	}{Type: "aes256-gcm96"}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	if e.keys[name] != nil {
		return nil, nil // as Vault: the key that is there stays as it is
	}
	key := &transitKey{kind: in.Type, derived: in.Derived, exportable: in.Exportable}
	if err := key.rotate(); err != nil {
		return nil, err
	}
	e.keys[name] = key
	return key.describe(), nil
}

func (k *transitKey) rotate() error {
	v, err := newKeyVersion(k.kind)
	if err != nil {
		return refuse(http.StatusBadRequest, err.Error())
	}
	k.versions = append(k.versions, v)
	return nil
}

func (k *transitKey) configure(r *request) error {
	var in struct{ Exportable bool }
	err := r.into(&in)
	k.exportable = k.exportable || in.Exportable // it cannot be taken back
	return err
}

func (k *transitKey) describe() map[string]any {
	versions := map[string]any{}
	for i, v := range k.versions {
		number := strconv.Itoa(i + 1)
		if v.signer == nil {
			versions[number] = time.Now().Unix()
		} else {
			versions[number] = map[string]any{"name": k.kind, "public_key": v.publicText()}
		}
	}
	return map[string]any{
		"type": k.kind, "derived": k.derived, "exportable": k.exportable, "allow_plaintext_backup": false,
		"latest_version": len(k.versions), "keys": versions,
	}
}

// version picks one by number; 0 is the latest.
func (k *transitKey) version(n int) (keyVersion, int, error) {
	if n == 0 {
		n = len(k.versions)
	}
	if n < 0 || n > len(k.versions) {
		return keyVersion{}, 0, refuse(http.StatusBadRequest, "requested version is higher than the latest key version")
	}
	return k.versions[n-1], n, nil
}

func (k *transitKey) encrypt(r *request) (any, error) {
	var in struct {
		Plaintext      []byte `json:"plaintext"`
		AssociatedData []byte `json:"associated_data"`
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	v, n, err := k.version(0)
	if err != nil {
		return nil, err
	}
	if v.aead == nil {
		return nil, refuse(http.StatusBadRequest, "message encryption not supported for key type "+k.kind)
	}
	return map[string]any{"ciphertext": tagged(n, v.seal(in.Plaintext, in.AssociatedData)), "key_version": n}, nil
}

func (k *transitKey) decrypt(r *request) (any, error) {
	var in struct {
		Ciphertext     string `json:"ciphertext"`
		AssociatedData []byte `json:"associated_data"`
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	n, data, err := untagged(in.Ciphertext)
	if err != nil || n < 1 || n > len(k.versions) {
		return nil, refuse(http.StatusBadRequest, "invalid ciphertext: version is too new")
	}
	v := k.versions[n-1]
	if v.aead == nil {
		return nil, refuse(http.StatusBadRequest, "message decryption not supported for key type "+k.kind)
	}
	plain, err := v.open(data, in.AssociatedData)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "cipher: message authentication failed")
	}
	return map[string]any{"plaintext": plain}, nil
}

func (k *transitKey) hmac(r *request) (any, error) {
	var in struct {
		Input      []byte `json:"input"`
		KeyVersion int    `json:"key_version"`
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	v, n, err := k.version(in.KeyVersion)
	if err != nil {
		return nil, err
	}
	return map[string]any{"hmac": tagged(n, v.mac(in.Input))}, nil
}

func (k *transitKey) sign(r *request) (any, error) {
	in := signing{Marshaling: "asn1"}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	v, n, err := k.version(in.KeyVersion)
	if err != nil {
		return nil, err
	}
	if v.signer == nil {
		return nil, refuse(http.StatusBadRequest, "key type "+k.kind+" does not support signing")
	}
	if in.Batch == nil {
		signature, err := v.sign(in, in.Input)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, err.Error())
		}
		return map[string]any{"signature": fmt.Sprintf("vault:v%d:%s", n, signature), "key_version": n}, nil
	}
	results := make([]map[string]any, len(in.Batch))
	for i, item := range in.Batch {
		signature, err := v.sign(in, item.Input)
		if err != nil {
			results[i] = map[string]any{"error": err.Error()}
		} else {
			results[i] = map[string]any{"signature": fmt.Sprintf("vault:v%d:%s", n, signature), "key_version": n}
		}
	}
	return map[string]any{"batch_results": results}, nil
}

// signing is the body of sign.
type signing struct {
	Input []byte `json:"input"`
	Batch []struct {
		Input []byte `json:"input"`
	} `json:"batch_input"`
	KeyVersion int    `json:"key_version"`
	Marshaling string `json:"marshaling_algorithm"`
	Scheme     string `json:"signature_algorithm"`
	Prehashed  bool   `json:"prehashed"`
}
