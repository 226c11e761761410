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
	_, err := awssts.NewCatalog(loadBundle(t, strings.ReplaceAll(yaml, "role: &", "role: "+role)).Catalog(), nil)
	if err == nil || !strings.Contains(err.Error(), "would not hold in a managed policy") {
		t.Errorf("got %v", err)
	}
}
