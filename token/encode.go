package token

// Encode writes the claims as JSON, deterministically.
func (c *Claims) Encode() ([]byte, error) { return nil, ErrMalformed }
