// Package pebble names the real ACME test server, which tests build to get certificates from.
package pebble

import _ "github.com/letsencrypt/pebble/v2/wfe" // what is built is the command cmd/pebble beside it
