// Package docs holds a test that does what README.md and docs/*.md say.
//
// A document is run from its top to its end in a folder of its own, with the real binary:
//
//	sh                  is run by one bash for the whole document, so that folders and variables last
//	sh norun            is not run; the test lists each line with the reason
//	yaml release.yaml   is written to that name in the present folder and must load; agent.yaml too, and any other
//	                    name that ends in .yaml is a recipe
//	yaml part KIND      is a piece of a release, recipe or agent file, and must load once the keys that such a file
//	                    needs are added
//	console             is a transcript: the verbs and flags behind "$ release" must be there
//	text                is anything else
//
// A comment <!-- docs: in examples/hello --> at the top of a document gives its folder a copy of the example, at the
// place that it has in a checkout. As root each document has a network namespace of its own, so that it may listen
// where it likes.
package docs
