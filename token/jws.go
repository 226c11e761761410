package token

// MaxBytes is the size of the largest token that Parse accepts.
const MaxBytes = 16 << 10

// Signature algorithms that Writ signs with.
const (
	ES256   = "ES256"
	RS256   = "RS256"
	Ed25519 = "Ed25519"
)

// TypeAccessToken is the typ of an RFC 9068 access token.
const TypeAccessToken = "at+jwt"

// Header is what of a JWS header takes part in a decision.
type Header struct{ Algorithm, KeyID, Type string }

// Unverified is a well-formed compact JWS whose signature nobody checked yet.
type Unverified struct {
	header    Header
	input     string
	payload   []byte
	signature []byte
}

// Parse reads a compact JWS.
func Parse(raw string) (*Unverified, error) { return nil, ErrMalformed }

// Header returns the unverified header.
func (u *Unverified) Header() Header { return u.header }

// UnverifiedPayload returns the payload before any check of the signature.
func (u *Unverified) UnverifiedPayload() []byte { return u.payload }

// Verify checks the signature under the key and returns the payload.
func (u *Unverified) Verify(k Key) ([]byte, error) { return nil, ErrSignature }

// CheckType reports ErrType unless the header's typ is one of allowed.
func CheckType(h Header, allowed ...string) error { return ErrType }
