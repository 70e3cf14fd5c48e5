// Package awstest is a small AWS in the process of a test: it speaks the wire protocols of the services that this
// project calls, over HTTP, so that tests use the real SDK. It is written after the services' API references:
//
//   - EC2 (query requests, XML answers, version 2016-11-15): snapshots, images, tags, launch templates, instances,
//     networks, subnets and volumes as far as an account without any needs them
//   - Auto Scaling (query, version 2011-01-01): groups that replace what is unhealthy unless that is suspended
//   - EBS direct APIs (REST, JSON and raw blocks, version 2019-11-02)
//   - Elastic Load Balancing (query, version 2015-12-01): Application Load Balancers, which forward real requests by their rules
//     and weights where a test gives them an address (Options.Listen)
//   - CloudWatch (Smithy RPC v2 with CBOR): GetMetricData of what target groups counted
//   - STS (query, version 2011-06-15): GetCallerIdentity
//   - the instance metadata service, version 2 only: a token first, then data
//
// The service and the region of a request are what its signature says (credential scope). Each region has a state of its
// own. What takes AWS a while takes a while here (Options.Takes), by the server's clock; what was just made is not found
// for a moment (Options.Lag), as AWS documents for eventually consistent services. A parameter, filter or action that the
// server does not know is an error, never passed over.
//
// Signatures are not checked, and neither are permissions, unless a test denies an action (Server.Intercept).
package awstest
