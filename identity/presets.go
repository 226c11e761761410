package identity

import (
	"maps"
	"slices"
	"strings"
)

// Presets lists the names of the platforms that a Source can be preset for.
func Presets() []string { return slices.Sorted(maps.Keys(presets())) }

// presets is what the operator of a platform need not write: data in the form of any other source,
// where ${name} and ${trust_domain} stand for the source's own. What only the operator
// knows (an issuer of their own, the audience) is left empty.
//
// Ids are made of what the platform never gives to somebody else: GitHub's and GitLab's numeric
// ids (a name can be taken over after its owner left), Google's numeric subject.
func presets() map[string]Source {
	return map[string]Source{
		"kubernetes":  kubernetes(),
		"spiffe-jwt":  spiffeJWT(),
		"spiffe-x509": spiffeX509(),
		"github":      github(),
		"gitlab":      gitlab(),
		"aws":         aws(),
		"gcp":         gcp(),
		"oidc-user":   oidcUser(),
	}
}

// kubernetes accepts projected service account tokens. Legacy tokens kept in secrets lack the
// kubernetes.io claim and exp, and fail.
func kubernetes() Source {
	return Source{
		Discovery:     true,
		Algorithms:    []string{"RS256", "ES256", "ES384", "ES512"},
		SubjectPrefix: "k8s:${name}:",
		Kind:          KindWorkload,
		Claims: map[string]string{
			SubjectClaim:          `claims["kubernetes.io"].namespace + ":" + claims["kubernetes.io"].serviceaccount.name`,
			"namespace":           `claims["kubernetes.io"].namespace`,
			"service_account":     `claims["kubernetes.io"].serviceaccount.name`,
			"service_account_uid": `claims["kubernetes.io"].serviceaccount.uid`,
			"pod":                 `claims["kubernetes.io"].?pod.?name`,
			"pod_uid":             `claims["kubernetes.io"].?pod.?uid`,
			"node":                `claims["kubernetes.io"].?node.?name`,
		},
		Require: []Rule{{
			Expression: `claims.sub == "system:serviceaccount:" + claims["kubernetes.io"].namespace + ":" + claims["kubernetes.io"].serviceaccount.name`,
			Message:    "the token must be a projected service account token of this cluster",
		}},
	}
}

// spiffeAlgorithms are those that the JWT-SVID specification allows.
func spiffeAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}
}

// spiffeJWT accepts JWT-SVIDs. Keys come from the trust domain's bundle (jwks_file or jwks_uri), or from a
// SPIFFE OIDC discovery provider (issuer and discovery).
func spiffeJWT() Source {
	return Source{
		Algorithms:    spiffeAlgorithms(),
		Types:         []string{"", "JWT", "JOSE"},
		SubjectPrefix: "spiffe://${trust_domain}/",
		Kind:          KindWorkload,
		Claims: map[string]string{
			SubjectClaim: `claims.sub.after("spiffe://${trust_domain}/")`,
		},
	}
}

// spiffeX509 accepts X.509-SVIDs.
func spiffeX509() Source {
	return Source{
		SubjectPrefix: "spiffe://${trust_domain}/",
		Kind:          KindWorkload,
		X509:          &X509Config{},
		Claims: map[string]string{
			SubjectClaim: `claims.sub.after("spiffe://${trust_domain}/")`,
		},
	}
}

// github accepts tokens of GitHub Actions: the principal is the repository. Which branch,
// environment or workflow may do what is for policy to say, by attributes. Everybody on GitHub
// gets tokens from this issuer, for any audience.
func github() Source {
	return Source{
		Issuer:        "https://token.actions.githubusercontent.com",
		Discovery:     true,
		Algorithms:    []string{"RS256"},
		SubjectPrefix: "github:",
		Kind:          KindWorkload,
		Claims: map[string]string{
			SubjectClaim:         `claims.repository_owner_id + "/" + claims.repository_id`,
			"repository":         `claims.repository`,
			"repository_id":      `claims.repository_id`,
			"owner":              `claims.repository_owner`,
			"owner_id":           `claims.repository_owner_id`,
			"actor_id":           `claims.?actor_id`,
			"ref":                `claims.?ref`,
			"ref_type":           `claims.?ref_type`,
			"ref_protected":      `claims.?ref_protected`,
			"environment":        `claims.?environment`,
			"event_name":         `claims.?event_name`,
			"workflow_ref":       `claims.?workflow_ref`,
			"job_workflow_ref":   `claims.?job_workflow_ref`,
			"runner_environment": `claims.?runner_environment`,
			"run_id":             `claims.?run_id`,
			"sha":                `claims.?sha`,
		},
		Require: []Rule{{
			Expression: `claims.repository_owner_id.matches("[0-9]+") && claims.repository_id.matches("[0-9]+")`,
			Message:    "the token must name its repository and owner by numeric id",
		}},
	}
}

// gitlab accepts ID tokens of GitLab CI/CD: the principal is the project.
func gitlab() Source {
	return Source{
		Issuer:        "https://gitlab.com",
		Discovery:     true,
		Algorithms:    []string{"RS256"},
		SubjectPrefix: "gitlab:",
		Kind:          KindWorkload,
		Claims: map[string]string{
			SubjectClaim:         `claims.namespace_id + "/" + claims.project_id`,
			"project_path":       `claims.project_path`,
			"project_id":         `claims.project_id`,
			"namespace_path":     `claims.namespace_path`,
			"namespace_id":       `claims.namespace_id`,
			"user_id":            `claims.?user_id`,
			"ref":                `claims.?ref`,
			"ref_type":           `claims.?ref_type`,
			"ref_protected":      `claims.?ref_protected`,
			"environment":        `claims.?environment`,
			"pipeline_source":    `claims.?pipeline_source`,
			"pipeline_id":        `claims.?pipeline_id`,
			"job_id":             `claims.?job_id`,
			"runner_environment": `claims.?runner_environment`,
			"ci_config_ref_uri":  `claims.?ci_config_ref_uri`,
		},
		Require: []Rule{{
			Expression: `claims.namespace_id.matches("[0-9]+") && claims.project_id.matches("[0-9]+")`,
			Message:    "the token must name its project and namespace by numeric id",
		}},
	}
}

// aws accepts tokens that an IAM principal gets for itself from sts:GetWebIdentityToken. The issuer is
// the account's own. The caller chooses request_tags: they say nothing about who it is.
func aws() Source {
	return Source{
		Discovery:     true,
		Algorithms:    []string{"RS256", "ES384"},
		SubjectPrefix: "aws:${name}:",
		Kind:          KindWorkload,
		Claims: map[string]string{
			SubjectClaim:     `claims.sub`,
			"account":        `claims["https://sts.amazonaws.com/"].aws_account`,
			"region":         `claims["https://sts.amazonaws.com/"].?source_region`,
			"org_id":         `claims["https://sts.amazonaws.com/"].?org_id`,
			"ou_path":        `claims["https://sts.amazonaws.com/"].?ou_path`,
			"principal_tags": `claims["https://sts.amazonaws.com/"].?principal_tags`,
			"request_tags":   `claims["https://sts.amazonaws.com/"].?request_tags`,
		},
		Require: []Rule{{
			Expression: `claims.sub.contains(":iam::" + claims["https://sts.amazonaws.com/"].aws_account + ":")`,
			Message:    "the token must come from sts:GetWebIdentityToken",
		}},
	}
}

// gcp accepts identity tokens of service accounts. Google signs those of people with the same keys.
func gcp() Source {
	return Source{
		Issuer:        "https://accounts.google.com",
		Discovery:     true,
		Algorithms:    []string{"RS256"},
		SubjectPrefix: "gcp:",
		Kind:          KindWorkload,
		Claims: map[string]string{
			SubjectClaim:    `claims.sub`,
			"email":         `claims.email`,
			"project_id":    `claims.?google.?compute_engine.?project_id`,
			"zone":          `claims.?google.?compute_engine.?zone`,
			"instance_id":   `claims.?google.?compute_engine.?instance_id`,
			"instance_name": `claims.?google.?compute_engine.?instance_name`,
		},
		Require: []Rule{{
			Expression: `claims.email_verified == true && claims.email.endsWith(".gserviceaccount.com")`,
			Message:    "the token must belong to a service account and carry its e-mail address (format=full)",
		}},
	}
}

// oidcUser accepts people's ID tokens of an OpenID provider. An address that the provider did
// not verify is no attribute.
func oidcUser() Source {
	return Source{
		Discovery:     true,
		Algorithms:    []string{"RS256", "ES256", "PS256"},
		SubjectPrefix: "user:${name}:",
		Kind:          KindUser,
		Claims: map[string]string{
			SubjectClaim: `claims.sub`,
			"email":      `claims.?email_verified.orValue(false) == true ? claims.?email : optional.none()`,
			"name":       `claims.?name`,
			"groups":     `claims.?groups`,
			"amr":        `claims.?amr`,
			"acr":        `claims.?acr`,
			"auth_time":  `claims.?auth_time`,
		},
	}
}

// withPreset fills what the source leaves empty from its preset.
func withPreset(s Source) (Source, bool) {
	if s.Preset == "" {
		return s, true
	}
	preset, ok := presets()[s.Preset]
	if !ok {
		return s, false
	}
	expand := strings.NewReplacer("${name}", s.Name, "${trust_domain}", s.TrustDomain).Replace

	s.Issuer = fallback(s.Issuer, preset.Issuer)
	s.SubjectPrefix = fallback(s.SubjectPrefix, expand(preset.SubjectPrefix))
	s.Kind = fallback(s.Kind, preset.Kind)
	if s.JWKSFile == "" && s.JWKSURI == "" {
		s.Discovery = s.Discovery || preset.Discovery
	}
	if len(s.Algorithms) == 0 {
		s.Algorithms = preset.Algorithms
	}
	if len(s.Types) == 0 {
		s.Types = preset.Types
	}
	if s.X509 == nil && preset.X509 != nil {
		s.X509 = &X509Config{TrustDomain: s.TrustDomain}
	}
	for name, expression := range preset.Claims {
		if _, set := s.Claims[name]; !set {
			s.Claims[name] = expand(expression)
		}
	}
	rules := make([]Rule, 0, len(preset.Require)+len(s.Require))
	for _, rule := range preset.Require {
		rules = append(rules, Rule{Expression: expand(rule.Expression), Message: expand(rule.Message)})
	}
	s.Require = append(rules, s.Require...)
	return s, true
}

func fallback[T comparable](value, instead T) T {
	var zero T
	if value == zero {
		return instead
	}
	return value
}
