// Package config owns the schema of Writ's one configuration file: its keys,
// their defaults, what is refused and what the refusal says.
//
// Reading is strict. An unknown key, a key given twice, a value of the wrong
// type and a value that would weaken the broker are all faults, and all of them
// are reported at once, each with file, line and what to do about it. A default
// is always the safe choice; what weakens a check is named insecure_… and has to
// be written down.
//
// The file holds no secrets, only the paths of files that do. The paths (the
// keys that end in _file) are also the only values in which ${NAME} is replaced
// by an environment variable.
//
// The package never opens a socket, a store or a key: it says what the file
// means, and only cmd/writ, which wires the parts, imports it.
package config
