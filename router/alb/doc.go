// Package alb makes an Application Load Balancer of AWS obey the table. The balancer and its listeners are made by others, once;
// release makes target groups and rules in them, and touches nothing that does not carry its tag.
//
// # What is made
//
// All of it has the tag release.installation. Names of target groups begin with "release-" and 8 hex digits of installation and
// balancer.
//
//   - a target group a fleet (release.fleet, release.route, release.version): nodes by address, as in the table
//   - an anchor each: a rule that fits no request (it asks for a client of a network that is for documentation), so that the balancer
//     looks after the group's health before it gets a request, and while it drains
//   - rules of a route, for each host and path: previews (X-Release, from the networks that may), the route's own rules, and the split
//   - target groups without targets that keep the table: pages
//
// Rules have the first half of 1,000 priorities, anchors the second.
//
// # Where the table is
//
// In tags of pages, so that it is where the traffic is, and outlives the store: the canonical JSON of the table and of the nodes
// that left it, packed (flate, base64), cut into values of 256 characters, release.table.a00 and so on, 40 on a page. There are two
// sets of pages, a and b. A table is written into the set that the present one is not in; then one tag of page a0 says which set counts
// and what digest it has:
//
//	release.table      "3.14 b 17 9f86d081884c7d659a2feaa0c55ad015 9": version, set, pieces, digest, and that it is the ninth written
//	release.effective  "3.14": what the rules obey
//
// So a table is there whole or not at all. One that is written down and not in effect was being applied by an agent that ended: the
// next one makes it effective, whether it reads it or applies a newer one.
//
// A balancer has no compare-and-set. An older version is refused by what is written down, read at the beginning of Apply and again
// before it is replaced. Tags may be shown as they were for a while: a process does not believe a table older than the one that it
// wrote or saw last, nor pieces that do not fit together, until it has looked 30 times. What two leaders do between a look and a
// writing is kept apart by the lease in the store.
//
// # Order
//
// Apply writes down who joins a group that gets requests already, as one that leaves; registers nodes and waits until the balancer
// finds those healthy that are to get requests; writes the table down; makes new rules behind all others, changes those that stay,
// and brings them into their order at one instant; deletes rules; deregisters nodes. Those that joined for a table that is refused
// are deregistered at once, those of an agent that ended by the next one. Those that joined for a table that waits, and that
// nobody applies any more, leave after keepJoining; tables of others spare them meanwhile. Observe deletes a target group once no table has it and
// its last target has drained.
package alb
