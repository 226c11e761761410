package e2e_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// MinIO takes a header Currenttime for the time that its policies speak of. In web_identity a short
// session is over all the same, since it ends with the proof that it was made for.
func TestMinIOEndsAShortGrantThatLiesAboutTheTime(t *testing.T) {
	l := startLake(t, "web_identity")
	l.put(t, lakeBucket, "sales/q1")
	short := l.session(t, "--scope", "lake:read:sales/*", "--ttl", "5s")
	c := l.s3(short.provider())
	lie := s3.WithAPIOptions(smithyhttp.AddHeaderValue("Currenttime", "2020-01-01T00:00:00Z"))
	get := func() error {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(lakeBucket), Key: aws.String("sales/q1")}, lie)
		if err != nil {
			return err
		}
		return out.Body.Close()
	}
	for answered(t, get()) {
		if time.Now().After(short.Expiration.Add(30 * time.Second)) {
			t.Fatal("the short grant goes on for 30 s after its end")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if left := time.Until(short.Expiration); left > 0 {
		t.Errorf("it is refused %v before its end", left)
	}
}
