package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// maxFileBytes keeps a wrong path (a log, a device) from being read whole.
const maxFileBytes = 1 << 20

// Load reads, completes and checks the file at path. The error is a *FaultsError
// with everything that is wrong with the file, or says that it cannot be read.
func Load(path string) (*Config, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	f, err := os.Open(absolute)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	return Parse(path, data, filepath.Dir(absolute), os.LookupEnv)
}

// Parse is Load for a text that was read already: file is the name that faults
// carry, base is where relative paths start, and lookup answers for ${NAME}.
func Parse(file string, data []byte, base string, lookup func(name string) (string, bool)) (*Config, error) {
	if len(data) > maxFileBytes {
		return nil, &FaultsError{Faults: []Fault{{File: file, Message: "is larger than 1 MiB", Hint: "is this the configuration?"}}}
	}
	c := Default()
	c.file = file
	d := &decoder{file: file, lookup: lookup, lines: map[string]int{}}
	root, err := document(data)
	if err != nil {
		return nil, &FaultsError{Faults: []Fault{{File: file, Message: err.Error()}}}
	}
	if root != nil {
		d.value("", root, reflect.ValueOf(c).Elem())
	}
	c.lines = d.lines
	c.settle(base)
	if err := asError(append(d.faults, c.faultsBesides(d.faults)...)); err != nil {
		return nil, err
	}
	return c, nil
}

// document returns the root of the one YAML document of data, nil if it is empty.
func document(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("is not YAML: %w", err)
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one YAML document")
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	return doc.Content[0], nil
}

// faultsBesides returns what Validate finds, less the keys that could not even be
// read: their defaults stand in for them, and a second fault would only confuse.
func (c *Config) faultsBesides(read []Fault) []Fault {
	unread := map[string]bool{}
	for _, f := range read {
		unread[f.Key] = true
	}
	var out []Fault
	for _, f := range c.faults() {
		if !unread[f.Key] {
			out = append(out, f)
		}
	}
	return out
}
