// Package resolve finds which packages a request needs, from package lists that were verified before.
//
//	u := resolve.New(packages, "amd64").WithSuites(suites)
//	base, err := u.Base()
//	solution, err := u.Resolve(resolve.Request{Installed: base.Packages, Want: wants})
//	batches, err := resolve.Order("amd64", solution.New, base.Packages)
//
// # What it promises
//
// The answer is the same set of packages and versions as apt-get install gives: package after package is chosen greedily, in
// the order in which apt 2.6 would (plan.go, install.go). Where that leads to a conflict, a complete search over
// versions and alternatives takes over (search.go): if there is a solution it is found, as long as the search stays below
// Request.Limit conflicts. The answer is closed under Pre-Depends and Depends, free of conflicts, has nothing that no chain
// of reasons leads to, and depends on nothing but the content of the lists: not on their order, nor on that of maps.
//
// # What is left out
//
// Suggests are never followed. Holds, phased updates and apt's lists of packages that are never removed on their own are not
// there: they belong to machines that live on. Where the greedy way fails, apt's problem resolver takes back choices one by one, and
// packages that it tried stay if something suggests them; the search leaves them out. Where apt gives up and a solution exists,
// this package has the solution. A base is mmdebstrap's: without another wish it has usrmerge.
//
// # Places
//
// Among equal providers apt takes the one whose name its cache met last. That is an accident of the order of its lists, but it
// decides between packages that nothing else tells apart, so every package gets its place in that order when the universe is
// made: lists are read as archives sort them (suite, source package, name), and a package is met where its own
// paragraph stands or where an earlier one names it in a relation.
//
// Sources: Debian Policy chapter 7, deb-control(5), apt_preferences(5), and what apt-get -s shows, which the tests compare.
package resolve
