// Package jwks fetches and keeps the keys of identity sources.
package jwks
