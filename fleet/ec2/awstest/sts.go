package awstest

var stsActions = map[string]action{
	"GetCallerIdentity": func(q *request) (any, *Fault) {
		return struct{ Arn, UserId, Account string }{"arn:aws:iam::" + Account + ":user/release", "AIDACKCEVSQ6C2EXAMPLE", Account}, q.unread()
	},
}
