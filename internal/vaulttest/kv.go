package vaulttest

import (
	"encoding/json"
	"net/http"
	"strings"
)

// kv is a KV of version 2.
type kv struct{ entries map[string]*kvEntry }

type kvEntry struct {
	value   json.RawMessage
	version int
	deleted bool // the latest version's value
}

func (k *kv) exists(path string) bool {
	_, ok := k.entries[strings.TrimPrefix(path, "data/")]
	return ok
}

func (k *kv) handle(r *request) (any, error) {
	kind, path, _ := strings.Cut(r.path, "/")
	entry := k.entries[path]
	switch {
	case kind == "metadata" && r.method == http.MethodDelete:
		delete(k.entries, path)
		return nil, nil
	case kind != "data":
		return nil, refuse(http.StatusNotFound)
	case r.method == http.MethodPut:
		return k.put(path, entry, r)
	case entry == nil:
		return nil, refuse(http.StatusNotFound)
	case r.method == http.MethodDelete:
		entry.deleted = true
		return nil, nil
	case entry.deleted:
		return nil, &refusal{status: http.StatusNotFound, data: map[string]any{
			"data": nil, "metadata": map[string]any{"version": entry.version, "deletion_time": "2026-01-01T00:00:00Z"},
		}}
	}
	return map[string]any{"data": entry.value, "metadata": map[string]any{"version": entry.version}}, nil
}

func (k *kv) put(path string, entry *kvEntry, r *request) (any, error) {
	var in struct {
		Data    json.RawMessage
		Options struct{ CAS *int }
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	if in.Data == nil {
		return nil, refuse(http.StatusBadRequest, "no data provided")
	}
	if entry == nil {
		entry = &kvEntry{}
	}
	if in.Options.CAS != nil && *in.Options.CAS != entry.version {
		return nil, refuse(http.StatusBadRequest, "check-and-set parameter did not match the current version")
	}
	entry.value, entry.deleted = in.Data, false
	entry.version++
	k.entries[path] = entry
	return map[string]any{"version": entry.version}, nil
}

// kv1 is a KV of version 1, which takes whatever it gets.
type kv1 struct{ entries map[string]json.RawMessage }

func (k *kv1) exists(path string) bool { return k.entries[path] != nil }

func (k *kv1) handle(r *request) (any, error) {
	switch {
	case r.method == http.MethodPut:
		k.entries[r.path] = r.raw
		return nil, nil
	case k.entries[r.path] == nil:
		return nil, refuse(http.StatusNotFound)
	}
	return k.entries[r.path], nil
}
