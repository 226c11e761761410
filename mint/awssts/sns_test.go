package awssts_test

import (
	"testing"

	"github.com/writbroker/writ/mint/awssts"
)

// SNS has ARNs of more segments that take sns:Publish: endpoints of devices.
func TestATopicIsNoEndpoint(t *testing.T) {
	for _, scope := range []string{"topics:publish:*", "topics:publish:e*"} {
		p, err := loadWorld(t).Compile(parseSet(t, scope), awssts.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := parseRules(p.JSON)
		if err != nil {
			t.Fatal(err)
		}
		a := access{action: "sns:Publish", resource: "arn:aws:sns:eu-west-1:123456789012:endpoint/APNS/app/5e3e9847"}
		if r.allows(a, wide, wide) {
			t.Errorf("%s reaches a phone: %s", scope, p.JSON)
		}
	}
}
