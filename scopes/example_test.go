package scopes_test

import (
	"fmt"

	"github.com/writbroker/writ/scopes"
)

// A resource server builds the resource from its segments and asks the token's
// set.
func ExampleSet_Allows() {
	granted, err := scopes.ParseSet("warehouse:read:sales/eu/*")
	if err != nil {
		panic(err)
	}
	for _, id := range []string{"q1", "q1/../../hr", "*"} {
		resource, err := scopes.Resource("sales", "eu", id)
		if err != nil {
			panic(err)
		}
		fmt.Println(resource, granted.Allows("warehouse", "read", resource), granted.Allows("warehouse", "write", resource))
	}
	// Output:
	// sales/eu/q1 true false
	// sales/eu/q1%2F..%2F..%2Fhr true false
	// sales/eu/%2A true false
}

func ExampleNewSet() {
	length, _ := scopes.Parse("warehouse:read:sales/*")
	longer, _ := scopes.Parse("warehouse:read:sales/*/**")
	set, err := scopes.NewSet(longer, length)
	fmt.Println(set, err)
	// Output: warehouse:read:sales/** <nil>
}
