package main

import (
	"crypto/tls"
	"net"
)

// listenTLS asks each client for a certificate and takes any: the login by
// certificate is what checks it.
func listenTLS(inner net.Listener, certFile, keyFile string) (net.Listener, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(inner, &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
	}), nil
}
