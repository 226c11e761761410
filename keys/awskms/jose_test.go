package awskms_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/writbroker/writ/keys/awskms"
)

const width = 32

func der(t testing.TB, r, s *big.Int) []byte {
	t.Helper()
	out, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	must(t, err)
	return out
}

func TestShortNumbersKeepTheirWidth(t *testing.T) {
	most := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 8*width), big.NewInt(1))
	for _, r := range []*big.Int{big.NewInt(1), big.NewInt(0x7f), big.NewInt(0x80), big.NewInt(0xff00), new(big.Int).Rsh(most, 8), new(big.Int).Rsh(most, 1), most} {
		for _, s := range []*big.Int{big.NewInt(1), big.NewInt(0x80), most} {
			out, err := awskms.JOSE(der(t, r, s), width)
			must(t, err)
			if want := append(r.FillBytes(make([]byte, width)), s.FillBytes(make([]byte, width))...); !bytes.Equal(out, want) {
				t.Errorf("%x, %x became %x", r, s, out)
			}
		}
	}
}

func TestWhatIsNoSignatureIsRefused(t *testing.T) {
	one := big.NewInt(1)
	long := new(big.Int).Lsh(one, 8*width)
	good := der(t, one, one)
	for name, bad := range map[string][]byte{
		"nothing":          nil,
		"cut short":        good[:len(good)-1],
		"drawn out":        append(bytes.Clone(good), 0),
		"too long an r":    der(t, long, one),
		"too long an s":    der(t, one, long),
		"a negative r":     der(t, big.NewInt(-1), one),
		"a padded r":       {0x30, 7, 2, 2, 0, 1, 2, 1, 1},
		"a long length":    {0x30, 0x81, 6, 2, 1, 1, 2, 1, 1},
		"three numbers":    {0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1},
		"one number":       {0x30, 3, 2, 1, 1},
		"an empty number":  {0x30, 5, 2, 0, 2, 1, 1},
		"a set, no list":   {0x31, 6, 2, 1, 1, 2, 1, 1},
		"strings, no ints": {0x30, 6, 4, 1, 1, 4, 1, 1},
	} {
		if out, err := awskms.JOSE(bad, width); err == nil {
			t.Errorf("%s became %x", name, out)
		}
	}
}

// FuzzJOSE holds the conversion to be one to one: what is taken is the one DER of what
// comes out, so that no signature has two forms.
func FuzzJOSE(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(f, err)
	for i := range 8 {
		digest := sha256.Sum256([]byte{byte(i)})
		signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		must(f, err)
		f.Add(signature)
	}
	f.Add([]byte{0x30, 6, 2, 1, 0, 2, 1, 0})
	f.Add([]byte{0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := awskms.JOSE(in, width)
		if err != nil {
			return
		}
		if len(out) != 2*width {
			t.Fatalf("%d bytes", len(out))
		}
		r, s := new(big.Int).SetBytes(out[:width]), new(big.Int).SetBytes(out[width:])
		if again := der(t, r, s); !bytes.Equal(again, in) {
			t.Errorf("%x was taken, and its DER is %x", in, again)
		}
	})
}
