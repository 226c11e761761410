// Package brokertest makes a whole broker of real parts for the tests of packages broker and
// httpapi: the embedded store, journal, key ring, audit log and identity sources, in a temporary
// folder, under a clock that the test moves. Nothing in it is a mock; what a test wants to fail,
// it wraps itself. Only tests import it.
package brokertest
