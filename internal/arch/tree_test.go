package arch_test

// home is one line of the tree: a package, and all that lies below it unless a
// line of its own says otherwise.
type home struct {
	path    string
	imports []string // ours, besides what these may import; all point to lines above
	pure    bool     // no files, no network, no log: directly, and not in tests
	adapter bool     // wired only in cmd
	forbids []string // prefixes of paths that it must not depend on, at any depth
}

// tree is in order: an import points only upwards. What is not in it does not
// belong to the module.
var tree = []home{
	{path: "scopes", pure: true},
	{path: "token", pure: true, imports: []string{"scopes"}},
	{path: "identity", pure: true, imports: []string{"token"}},
	{path: "identity/jwks", imports: []string{"identity"}},
	{path: "policy", pure: true, imports: []string{"scopes", "identity"}},
	{path: "policy/analyze", imports: []string{"policy"}},
	{path: "store"},
	{path: "store/storetest", adapter: true, imports: []string{"store"}},
	{path: "store/bolt", adapter: true, imports: []string{"store"}},
	{path: "store/redis", adapter: true, imports: []string{"store"}},
	{path: "internal/breaker"},
	{path: "keys", imports: []string{"token", "store"}},
	{path: "keys/custodytest", adapter: true, imports: []string{"keys"}},
	{path: "keys/file", adapter: true, imports: []string{"keys"}},
	{path: "keys/vault", adapter: true, imports: []string{"keys", "internal/breaker"}},
	{path: "keys/awskms", adapter: true, imports: []string{"keys", "internal/breaker"}},
	{path: "revocation", pure: true, imports: []string{"scopes", "token"}},
	{path: "revocation/journal", imports: []string{"revocation", "store"}},
	{path: "revocation/roll", imports: []string{"store"}},
	{path: "revocation/fleet", imports: []string{"revocation", "store"}},
	{path: "audit", imports: []string{"scopes", "identity", "policy"}},
	{path: "mint", imports: []string{"policy", "token", "keys"}, forbids: amazon},
	{path: "mint/awssts/iam", pure: true},
	{path: "mint/awssts/denylist", pure: true, imports: []string{"mint/awssts/iam"}},
	{path: "mint/awssts/setup", pure: true, imports: []string{"mint/awssts/iam"}},
	{path: "mint/awssts", adapter: true, imports: []string{"mint", "policy", "scopes", "mint/awssts/denylist", "mint/awssts/iam"}},
	{path: "mint/awssts/revoker", adapter: true, imports: []string{"mint", "store", "mint/awssts/denylist", "internal/breaker"}},
	{path: "broker", imports: []string{"identity/jwks", "policy/analyze", "revocation/journal", "audit", "mint"}, forbids: amazon},
	// The types of the wire are a leaf, so that clients need nothing else.
	{path: "httpapi/wire", imports: []string{"scopes", "token", "revocation"}},
	{path: "httpapi", imports: []string{"broker", "httpapi/wire"}, forbids: amazon},
	{path: "console", imports: []string{"httpapi/wire"}},
	{path: "client", imports: []string{"httpapi/wire"}, forbids: clouds},
	{path: "client/awsagent", imports: []string{"httpapi/wire", "client"}, forbids: clouds},
	{path: "verifier", imports: []string{"scopes", "token", "revocation", "client"}, forbids: clouds},
	{path: "config", imports: []string{"identity"}, forbids: amazon},
	{path: "examples"}, // files; its tests look at more
	{path: "cmd/writ", imports: everything},
	{path: "docs", imports: everything},
	{path: "internal/arch"},
	{path: "internal/iamtest"},
	{path: "internal/ststest", imports: []string{"token"}},
	{path: "internal/brokertest", imports: everything}, // what tests stand on
	{path: "internal/kmstest"},
	{path: "internal/mutants"},
	{path: "internal/porttest"},
	{path: "internal/redistest", imports: []string{"internal/porttest"}},
	{path: "internal/vaulttest"},
	{path: "internal/vaulttest/vaultcases", imports: everything},
}

// everything lets a line import all the lines above it, adapters too.
var everything = []string{"*"}

// clouds is what a program that only holds or checks tokens must not have to
// build: storage, clouds, policy's language, the command line.
var clouds = []string{
	"cel.dev/", "github.com/aws/", "github.com/hashicorp/", "github.com/redis/", "github.com/spf13/",
	"github.com/prometheus/", "go.etcd.io/", "go.yaml.in/", "go.opentelemetry.io/", "sigs.k8s.io/",
}

// amazon is what only its adapters and the wiring build.
var amazon = []string{"github.com/aws/"}

// impure is what a pure package does not import.
var impure = []string{"database/sql", "log", "log/slog", "net", "net/http", "os", "os/exec", "os/signal", "syscall"}
