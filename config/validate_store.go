package config

import (
	"fmt"
	"net"
	"strings"
	"time"
)

// The kinds of stores.
const (
	StoreBolt  = "bolt"
	StoreRedis = "redis"
)

// maxMinReplicas is more replicas than any Redis is given.
const maxMinReplicas = 64

func (k *checker) store() {
	s := k.config.Store
	k.oneOf("store.kind", s.Kind, StoreBolt, StoreRedis)
	_, told := k.config.lines["store.redis"]
	switch {
	case s.Kind == StoreRedis:
		k.redis(s.Redis)
	case told && s.Kind == StoreBolt:
		k.fault("store.redis", "is set, but store.kind is bolt: nothing would be shared", "write kind: redis, or remove it")
	}
}

func (k *checker) redis(r Redis) {
	const key = "store.redis"
	if _, told := k.config.lines["store.path"]; told {
		k.fault("store.path", "is set, but the store is redis", "remove it")
	}
	if len(r.Addresses) == 0 {
		k.fault(key+".addresses", "is missing", "name the server, the Sentinels or some nodes of the Cluster as host:port")
	}
	for i, text := range r.Addresses {
		k.redisAddress(fmt.Sprintf("%s.addresses[%d]", key, i), text, r)
	}
	switch {
	case r.Cluster && r.MasterName != "":
		k.fault(key+".master_name", "is set together with cluster", "a Cluster has no Sentinels: keep one of the two")
	case r.Cluster && r.Database != 0:
		k.fault(key+".database", "is set together with cluster", "a Cluster has no databases: remove it")
	case !r.Cluster && r.MasterName == "" && len(r.Addresses) > 1:
		k.fault(key+".addresses", "names several servers, and nothing says what they are", "set master_name for Sentinels, or cluster: true")
	}
	if r.MasterName == "" && (r.SentinelUsername != "" || r.SentinelPasswordFile != "") {
		k.fault(key+".master_name", "is missing, though there is a login for Sentinels", "name the master that the Sentinels watch")
	}
	if r.Username != "" && r.PasswordFile == "" {
		k.fault(key+".password_file", "is missing, though there is a username", "name the file that holds its password")
	}
	if r.SentinelUsername != "" && r.SentinelPasswordFile == "" {
		k.fault(key+".sentinel_password_file", "is missing, though there is a username", "name the file that holds its password")
	}
	k.redisTLS(key+".tls", r.TLS)
	k.count(key+".database", int64(r.Database), 0, 1<<16)
	k.count(key+".min_replicas", int64(r.MinReplicas), 0, maxMinReplicas)
	// What waits for Redis must end well before a verifier or a caller gives up.
	k.between(key+".timeout", r.Timeout, 10*time.Millisecond, 30*time.Second)
}

func (k *checker) redisAddress(key, text string, r Redis) {
	host, port, err := net.SplitHostPort(text)
	if strings.Contains(text, "@") {
		k.fault(key, "is not host:port: a user or a password does not belong there", `write username and password_file, and the address as "redis.example:6379"`)
		return
	}
	if err != nil || host == "" || !isPort(port) || port == "0" {
		k.fault(key, fmt.Sprintf("%q is not host:port", text), `write it as "redis.example:6379"`)
		return
	}
	if !r.TLS.Enabled && !r.InsecurePlaintext && !isLoopback(host) {
		k.fault(key, fmt.Sprintf("%q would be reached without TLS: the password and the list of what is revoked would cross the network in the clear", text),
			"set store.redis.tls.enabled: true; in a network that encrypts by itself, write insecure_plaintext: true")
	}
}

func (k *checker) redisTLS(key string, t RedisTLS) {
	if !t.Enabled && t != (RedisTLS{}) {
		k.fault(key+".enabled", "is not true, but other keys of tls are set", "write enabled: true, or remove them")
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		k.fault(key, "has only one of cert_file and key_file", "set both, or neither")
	}
}

// redisFiles looks at what store.redis points to. A shared store needs a root key that
// is there already: replicas that each made their own would take each other's records
// for forged.
func (k *checker) redisFiles() {
	if k.config.Store.Kind != StoreRedis {
		return
	}
	r := k.config.Store.Redis
	k.secret("store.redis.password_file", r.PasswordFile, byAll)
	k.secret("store.redis.sentinel_password_file", r.SentinelPasswordFile, byAll)
	k.readable("store.redis.tls.ca_file", r.TLS.CAFile)
	k.readable("store.redis.tls.cert_file", r.TLS.CertFile)
	k.secret("store.redis.tls.key_file", r.TLS.KeyFile, byAll)
}
