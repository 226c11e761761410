package awssts_test

import (
	"strings"
	"testing"

	"github.com/writbroker/writ/mint/awssts"
)

// Who asks for so much that a managed policy stands for it is not rid of the catalog's conditions.
func TestManagedKeepsConditions(t *testing.T) {
	const yaml = `
kind: catalog
tools:
- name: c
  audience: c
  actions: [read]
  aws:
    role: &
    service: s3
    with: {bucket: acme}
    conditions: {StringEquals: {"aws:SourceVpc": vpc-1}}
    managed: [{policy: "arn:aws:iam::123456789012:policy/all", scopes: ["c:read:**"]}]
`
	c, err := awssts.NewCatalog(loadBundle(t, strings.ReplaceAll(yaml, "role: &", "role: "+role)).Catalog(), nil)
	if err != nil {
		return // refused at load
	}
	p, err := c.Compile(parseSet(t, "c:read:**"), awssts.Options{Limit: 250})
	if err == nil && !strings.Contains(p.JSON, "vpc-1") {
		t.Errorf("allowed from anywhere: %v %s", p.ManagedARN, p.JSON)
	}
}
