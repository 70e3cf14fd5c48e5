// Package consul names the real Consul, which tests build to have servers of their own.
package consul

import _ "github.com/hashicorp/consul" // what is built is the program itself
