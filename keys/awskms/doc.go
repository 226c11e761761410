// Package awskms keeps signing keys in the custody of AWS KMS, in two ways.
//
// Sealing makes private keys here and has KMS encrypt them; what it seals may lie in a
// store that nobody trusts, opens only through KMS, and only as the key, in the ring,
// for the algorithm and of the state that it was made for. Signing is local, so KMS may
// be away once the keys are open. Signing leaves private keys in KMS, which signs:
// asymmetric KMS keys do not rotate, so each key of a ring is a KMS key of its own,
// made when the ring needs it and deleted with Discard.
//
// Both need one symmetric KMS key, Config.SealKey. Of it the broker's role must be
// allowed kms:DescribeKey, kms:Encrypt and kms:Decrypt, which a policy can narrow to a
// ring by kms:EncryptionContext:writ:ring. Signing needs kms:CreateKey and
// kms:TagResource besides, and kms:GetPublicKey, kms:Sign and kms:ScheduleKeyDeletion
// for keys whose tag writ:ring is the ring's name.
//
// Every call has a bounded wait, and every failure a name to branch on; a KMS that does
// not answer is not asked by every request. Nothing here logs a key or credentials.
// cmd/writ wires it into keys.Rotator.
package awskms
