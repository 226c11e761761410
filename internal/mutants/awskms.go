package mutants

// awskms breaks what binds a key in the custody of KMS to its place, and what keeps a KMS
// that is away from holding up the broker.
func awskms() []Mutant {
	return []Mutant{
		{
			Name: "keys/awskms: a sealed key is not bound to its birth", File: "keys/awskms/box.go",
			Old:      `strconv.FormatUint(b.born, 10)`,
			New:      `strconv.Itoa(len(b.ring))`,
			Packages: []string{"./keys/awskms"}, Run: "^TestS.*Conforms$/^a_sealed_key",
		},
		{
			Name: "keys/awskms: whatever key a ciphertext names decrypts it", File: "keys/awskms/box.go",
			Old:      `&kms.DecryptInput{KeyId: &key, `,
			New:      `&kms.DecryptInput{`,
			Packages: []string{"./keys/awskms"}, Run: "^TestACiphertextDoesNotNameItsKey$",
		},
		{
			Name: "keys/awskms: the ring publishes another key than KMS signs with", File: "keys/awskms/signing.go",
			Old:      "!samePublic(published.Public, public)",
			New:      "published.Public == nil",
			Packages: []string{"./keys/awskms"}, Run: "^TestThePublishedKeyIsTheOneThatSigns$",
		},
		{
			Name: "keys/awskms: each failure leaves a key to pay for", File: "keys/awskms/signing.go",
			Old:      "		s.keep(arn, ring, sp)\n",
			New:      "		_ = s.keep\n",
			Packages: []string{"./keys/awskms"}, Run: "^TestAFailureLeavesNoHeapOfKeys$",
		},
		{
			Name: "keys/awskms: a KMS that is away holds up every request", File: "keys/awskms/client.go",
			Old:      "c.leave(entered, breaker.Away, failed)",
			New:      "c.leave(entered, breaker.Answered, nil)",
			Packages: []string{"./keys/awskms"}, Run: "^TestAKMSThatIsAwayIsNotAskedByEveryRequest$",
		},
	}
}
