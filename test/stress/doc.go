// Package stress moves traffic back and forth for a long time, with every kind of client at work, and wants nothing lost. With
// RELEASE_STRESS=full it is 100 cutovers under 1,000,000 requests, which takes some minutes; else a small part of it.
package stress
