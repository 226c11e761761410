package vault

import "github.com/writbroker/writ/token"

// Waiting says how many signatures wait for the next call.
func Waiting(s token.Signer) int {
	signer, ok := s.(*remoteSigner)
	if !ok {
		return 0
	}
	signer.batch.mu.Lock()
	defer signer.batch.mu.Unlock()
	return len(signer.batch.queue)
}
