package identity

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxTrustDomainBytes and the rules below are those of the SPIFFE-ID specification, §2.
const maxTrustDomainBytes = 255

// trustDomainOf checks a SPIFFE ID of a workload, spiffe://trust-domain/path, and gives its
// trust domain. Nothing is normalized: what is not canonical is refused.
func trustDomainOf(id string) (string, error) {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	if !ok {
		return "", fmt.Errorf("%w: not a SPIFFE ID", ErrMalformed)
	}
	trustDomain, path, ok := strings.Cut(rest, "/")
	if !ok || !isTrustDomain(trustDomain) || !isSPIFFEPath(path) {
		return "", fmt.Errorf("%w: not the SPIFFE ID of a workload", ErrMalformed)
	}
	return trustDomain, nil
}

func isTrustDomain(name string) bool {
	if name == "" || len(name) > maxTrustDomainBytes {
		return false
	}
	for _, c := range []byte(name) {
		if !isLower(c) && !isDigit(c) && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func isSPIFFEPath(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
		for _, c := range []byte(segment) {
			if !isLower(c) && !isDigit(c) && (c < 'A' || c > 'Z') && c != '.' && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isID says whether text may be (the beginning of) a principal's id. What a human reader could
// not see is refused, and so is '*': policy could not name such a principal exactly.
func isID(text string) bool {
	if text == "" || len(text) > MaxIDBytes || !utf8.ValidString(text) {
		return false
	}
	for _, r := range text {
		if r == '*' || unicode.IsSpace(r) || !unicode.IsGraphic(r) {
			return false
		}
	}
	return true
}
