package consul

import "github.com/hashicorp/consul/api"

func aclPolicy(rules string) *api.ACLPolicy {
	return &api.ACLPolicy{Name: newCommit(), Rules: rules}
}

func aclToken(policy string) *api.ACLToken {
	return &api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy}}}
}
