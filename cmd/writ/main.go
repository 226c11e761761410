// Command writ is the whole of Writ in one binary: the broker, its tools for security ops and
// policy authors, and a demonstration.
package main

import (
	"os"

	"github.com/writbroker/writ/cmd/writ/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
