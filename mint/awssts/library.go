package awssts

import "github.com/writbroker/writ/policy"

// service is a ready mapping: what a catalog names instead of writing it out.
type service struct {
	required []string // parameters that `with` must give
	optional []string
	actions  []policy.AWSAction
}

// services are the ready mappings, by name. Each action names what one kind of caller needs,
// and no more: writing does not delete, reading does not list.
//
// Clean and closed are statements about AWS: about which characters the service lets into a
// name, and which ARNs it has.
func services() map[string]service {
	region := []string{"region"}
	return map[string]service{
		"s3":             {required: []string{"bucket"}, optional: []string{"prefix"}, actions: s3()},
		"dynamodb":       {required: region, actions: dynamoDB()},
		"sqs":            {required: region, actions: sqs()},
		"sns":            {required: region, actions: sns()},
		"secretsmanager": {required: region, actions: secretsManager()},
		"ssm":            {required: region, actions: parameterStore()},
		"lambda":         {required: region, actions: lambda()},
		"bedrock":        {required: region, actions: bedrock()},
		"athena":         {required: region, actions: athena()},
		"glue":           {required: region, actions: glue()},
		"kms":            {required: region, actions: kms()},
		"ecr":            {required: region, actions: ecr()},
		"logs":           {required: region, optional: []string{"prefix"}, actions: logs()},
	}
}

// s3: a resource is an object's key. A bucket is reached by listing it alone, with a prefix.
func s3() []policy.AWSAction {
	object := policy.AWSTarget{Resource: on("arn:{partition}:s3:::{bucket}/{prefix}{path}")}
	return []policy.AWSAction{
		does("read", object, "s3:GetObject"),
		does("write", object, "s3:AbortMultipartUpload", "s3:PutObject"),
		does("delete", object, "s3:DeleteObject"),
		does("list", policy.AWSTarget{
			Resource: on("arn:{partition}:s3:::{bucket}"),
			List:     &policy.AWSList{Prefix: on("s3:prefix"), Delimiter: on("s3:delimiter"), Value: on("{prefix}{path}")},
		}, "s3:ListBucket"),
	}
}

// dynamoDB: a resource is a table, or TABLE/index/NAME. BatchWriteItem is left out, since it
// also deletes.
func dynamoDB() []policy.AWSAction {
	table := policy.AWSTarget{Resource: on("arn:{partition}:dynamodb:{region}:{account}:table/{path}"), Clean: true}
	return []policy.AWSAction{
		does("read", table, "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"),
		does("scan", table, "dynamodb:Scan"),
		does("write", table, "dynamodb:PutItem", "dynamodb:UpdateItem"),
		does("delete", table, "dynamodb:DeleteItem"),
	}
}

// sqs: a resource is a queue.
func sqs() []policy.AWSAction {
	queue := flat("arn:{partition}:sqs:{region}:{account}:{path}")
	return []policy.AWSAction{
		does("send", queue, "sqs:SendMessage"),
		does("receive", queue, "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"),
		does("describe", queue, "sqs:GetQueueAttributes", "sqs:GetQueueUrl"),
	}
}

// sns: a resource is a topic. It is not closed: what is published to a device has an endpoint's
// ARN, endpoint/PLATFORM/APP/ID, which a pattern of topics must not reach.
func sns() []policy.AWSAction {
	topic := flat("arn:{partition}:sns:{region}:{account}:{path}")
	topic.Closed = false
	return []policy.AWSAction{does("publish", topic, "sns:Publish")}
}

// secretsManager: a resource is a secret's name, which may hold slashes. AWS appends six
// characters to it.
func secretsManager() []policy.AWSAction {
	secret := policy.AWSTarget{Resource: on("arn:{partition}:secretsmanager:{region}:{account}:secret:{path}-??????")}
	return []policy.AWSAction{
		does("read", secret, "secretsmanager:GetSecretValue"),
		does("describe", secret, "secretsmanager:DescribeSecret"),
		does("write", secret, "secretsmanager:PutSecretValue"),
	}
}

// parameterStore: a resource is a parameter's name without the slash that it begins with.
// GetParametersByPath is left out: whoever may read a path reads all below it, whatever is
// denied there.
func parameterStore() []policy.AWSAction {
	parameter := policy.AWSTarget{Resource: on("arn:{partition}:ssm:{region}:{account}:parameter/{path}")}
	return []policy.AWSAction{
		does("read", parameter, "ssm:GetParameter", "ssm:GetParameters"),
		does("write", parameter, "ssm:PutParameter"),
		does("delete", parameter, "ssm:DeleteParameter"),
	}
}

// lambda: a resource is a function, or FUNCTION/ALIAS or FUNCTION/VERSION.
func lambda() []policy.AWSAction {
	return []policy.AWSAction{does("invoke", policy.AWSTarget{
		Resource: on("arn:{partition}:lambda:{region}:{account}:function:{path}"), Separator: on(":"), Clean: true,
	}, "lambda:InvokeFunction")}
}

// bedrock: a resource is the id of a foundation model.
func bedrock() []policy.AWSAction {
	return []policy.AWSAction{does("invoke", flat("arn:{partition}:bedrock:{region}::foundation-model/{path}"),
		"bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream")}
}

// athena: a resource is a workgroup. What a query reads is in glue and s3.
func athena() []policy.AWSAction {
	return []policy.AWSAction{does("query", flat("arn:{partition}:athena:{region}:{account}:workgroup/{path}"),
		"athena:GetQueryExecution", "athena:GetQueryResults", "athena:StartQueryExecution", "athena:StopQueryExecution")}
}

// glue: a resource is DATABASE/TABLE. Glue asks for the same action on the table, on its
// database and on the catalog.
func glue() []policy.AWSAction {
	table := policy.AWSTarget{Segments: 2, Closed: true, Clean: true}
	read := policy.AWSAction{Name: "read"}
	for _, resource := range []string{"table/{path}", "database/{1}", "catalog"} {
		table.Resource = on("arn:{partition}:glue:{region}:{account}:" + resource)
		read.Targets = append(read.Targets, does("", table, "glue:GetPartition", "glue:GetPartitions", "glue:GetTable").Targets...)
	}
	return []policy.AWSAction{read}
}

// kms: a resource is the id of a key; cryptography knows no aliases in policies.
func kms() []policy.AWSAction {
	key := flat("arn:{partition}:kms:{region}:{account}:key/{path}")
	return []policy.AWSAction{
		does("decrypt", key, "kms:Decrypt"),
		does("encrypt", key, "kms:Encrypt", "kms:GenerateDataKey"),
		does("sign", key, "kms:Sign"),
		does("verify", key, "kms:Verify"),
	}
}

// ecr: a resource is a repository's name, which may hold slashes. Whoever pulls logs in
// first, which is not about a repository.
func ecr() []policy.AWSAction {
	pull := does("pull", policy.AWSTarget{Resource: on("arn:{partition}:ecr:{region}:{account}:repository/{path}"), Clean: true},
		"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
	pull.Targets = append(pull.Targets, does("", policy.AWSTarget{Resource: on("*")}, "ecr:GetAuthorizationToken").Targets...)
	return []policy.AWSAction{pull}
}

// logs: a resource is the name of a log group, with all its streams. Where names begin with
// a slash, the prefix does: /aws/lambda, or / alone.
func logs() []policy.AWSAction {
	group := policy.AWSTarget{Resource: on("arn:{partition}:logs:{region}:{account}:log-group:{prefix}{path}:*")}
	return []policy.AWSAction{
		does("read", group, "logs:FilterLogEvents", "logs:GetLogEvents"),
		does("write", group, "logs:CreateLogStream", "logs:PutLogEvents"),
	}
}

func on(text string) policy.AWSText { return policy.AWSText{Value: text} }

// flat is a resource of one name, in which the service lets no separator stand.
func flat(arn string) policy.AWSTarget {
	return policy.AWSTarget{Resource: on(arn), Segments: 1, Closed: true, Clean: true}
}

func does(action string, t policy.AWSTarget, iamActions ...string) policy.AWSAction {
	t.Actions = nil
	for _, a := range iamActions {
		t.Actions = append(t.Actions, on(a))
	}
	return policy.AWSAction{Name: action, Targets: []policy.AWSTarget{t}}
}
