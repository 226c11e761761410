package awskms_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/writbroker/writ/keys/awskms"
	"github.com/writbroker/writ/token"
)

// BenchmarkSign is a signature with and without a KMS: what KMS itself takes is not in
// it, but SigV4, HTTP and the check of the answer are.
func BenchmarkSign(b *testing.B) {
	w := newWorld(b)
	client := w.client(b)
	for _, alg := range []string{token.ES256, token.RS256} {
		k := made(b, client.Signing(), alg)
		remote := opened(b, client.Signing(), k)
		k = made(b, client.Sealing(), alg)
		local := opened(b, client.Sealing(), k)
		for name, signer := range map[string]token.Signer{"kms signs": remote, "here": local} {
			b.Run(alg+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := signer.Sign(b.Context(), []byte("header.payload")); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	w := newWorld(b)
	sealing := w.client(b).Sealing()
	k := made(b, sealing, token.ES256)
	b.ReportAllocs()
	for b.Loop() {
		opened(b, sealing, k)
	}
}

func BenchmarkJOSE(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b, err)
	digest := sha256.Sum256(nil)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := awskms.JOSE(signature, width); err != nil {
			b.Fatal(err)
		}
	}
}
