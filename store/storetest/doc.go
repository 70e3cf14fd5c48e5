// Package storetest is the conformance suite that every store.Store passes, and a store in memory for tests.
package storetest
