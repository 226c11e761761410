# What kind of key seals.
path "transit/keys/writ-seal" {
  capabilities = ["read"]
}

# Seal a private key that was made.
path "transit/encrypt/writ-seal" {
  capabilities = ["update"]
}

# Open a sealed private key.
path "transit/decrypt/writ-seal" {
  capabilities = ["update"]
}

# Make the key, only as one that cannot be exported, and read its public halves.
path "transit/keys/writ-tokens-es256" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = { "type" = ["ecdsa-p256"] }
}

# Add a version.
path "transit/keys/writ-tokens-es256/rotate" {
  capabilities = ["update"]
}

# Sign.
path "transit/sign/writ-tokens-es256/sha2-256" {
  capabilities = ["update"]
}

# Bind a version to its place in the ring.
path "transit/hmac/writ-tokens-es256/sha2-256" {
  capabilities = ["update"]
}

# Make the key, only as one that cannot be exported, and read its public halves.
path "transit/keys/writ-tokens-rs256" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = { "type" = ["rsa-2048"] }
}

# Add a version.
path "transit/keys/writ-tokens-rs256/rotate" {
  capabilities = ["update"]
}

# Sign.
path "transit/sign/writ-tokens-rs256/sha2-256" {
  capabilities = ["update"]
}

# Bind a version to its place in the ring.
path "transit/hmac/writ-tokens-rs256/sha2-256" {
  capabilities = ["update"]
}

# Make the key, only as one that cannot be exported, and read its public halves.
path "transit/keys/writ-tokens-ed25519" {
  capabilities = ["create", "update", "read"]
  allowed_parameters = { "type" = ["ed25519"] }
}

# Add a version.
path "transit/keys/writ-tokens-ed25519/rotate" {
  capabilities = ["update"]
}

# Sign.
path "transit/sign/writ-tokens-ed25519/sha2-256" {
  capabilities = ["update"]
}

# Bind a version to its place in the ring.
path "transit/hmac/writ-tokens-ed25519/sha2-256" {
  capabilities = ["update"]
}

# Anchor the ring's version.
path "secret/data/writ/tokens" {
  capabilities = ["create", "update", "read"]
}

# Tell a token that is gone from one that may not.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

# Keep the token.
path "auth/token/renew-self" {
  capabilities = ["update"]
}

# Give the token back.
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
