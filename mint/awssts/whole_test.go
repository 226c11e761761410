package awssts_test

import (
	"strings"
	"testing"

	"github.com/writbroker/writ/mint/awssts"
)

// An action whose mapping has no place for the scope's resource is not had by a scope of less
// than all: it would be all there.
func TestAnActionWithoutAPlaceIsForTheWhole(t *testing.T) {
	const yaml = `
kind: catalog
tools:
- name: lake
  audience: lake
  actions: [list, copy]
  aws:
    role: &
    actions:
      list: [{actions: ["s3:ListBucket"], resource: "arn:aws:s3:::acme-lake"}]
      copy:
      - {actions: ["s3:GetObject"], resource: "arn:aws:s3:::acme-lake/{path}"}
      - {actions: ["s3:PutObject"], resource: "arn:aws:s3:::acme-exports/done"}
`
	c, err := awssts.NewCatalog(loadBundle(t, strings.ReplaceAll(yaml, "role: &", "role: "+role)).Catalog(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, narrow := range []string{"lake:list:sales/eu", "lake:list:sales/**", "lake:list:*"} {
		refused(t, c, narrow, awssts.Options{}, "ask for lake:list:**")
	}
	if p := compile(t, c, "lake:list:**", awssts.Options{}); !strings.Contains(p.JSON, "arn:aws:s3:::acme-lake") {
		t.Error(p.JSON)
	}
	if p := compile(t, c, "lake:copy:sales/q1", awssts.Options{}); !strings.Contains(p.JSON, "acme-exports/done") {
		t.Error(p.JSON)
	}
}
