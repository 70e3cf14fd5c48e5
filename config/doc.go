// Package config reads the files that say what is wanted: release.yaml, which describes an app, and agent.yaml, which
// describes a machine.
//
// Reading is strict. Unknown keys, wrong types, duplicate keys and values that make no sense are errors with
// file:line:column, all of them at once (a fault.List). What Load returns is complete: the environment's overlay is
// merged and every default is filled in, so that nobody downstream guesses.
//
// # Environments
//
// An overlay under `environments:` may hold fleet, health, route and cutover. Mappings are merged key by key, lists and
// single values are replaced whole, and an empty value (`tls:`) takes away what the app says. An overlay's kind of health
// check replaces the app's kind. The environment "production" needs no overlay; every other one must be named. All
// overlays are checked whichever is chosen.
//
// # Secrets
//
// `fleet.secrets` and `route.preview.key` hold references, never values: "file:/path" or "env:NAME". The agent reads them
// at each start of a node. This package never does.
package config
