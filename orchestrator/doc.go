// Package orchestrator decides and does: it takes requests (launch, cutover, rollback …), keeps the state of every
// app and environment in a store with a journal of what happened and why, and reconciles what should be with what is
// through a fleet driver, a router backend and health probes.
//
// Deciding and doing are apart. next is a pure function from an app's state and the facts of the moment to a new state,
// actions and reasons. The loop commits the new state, journal entries included, before it starts an action; actions are
// idempotent and run aside, and what they brought about is seen as facts in a later round. Nothing relies on having seen
// an event: each round compares everything again.
//
// # In the store
//
//	meta/installation            {"schema","id"}: minted once; every resource of a driver carries it
//	meta/leader                  who leads (type Leader), written once at each leadership
//	apps/APP/ENV                 state of one app in one environment (type State)
//	events/APP/ENV/SEQ           one journal entry (type Event); SEQ is 12 digits, from 1 without gaps
//	operations/APP/ENV/N         an operation that ended (type Operation); N is 8 digits
//	tasks/APP/ENV/N              a task that ended (type Task); the newest 200
//	files/SHA256                 a file that hooks of releases need
//	releases/APP/ENV/N           a release that the state has let go of (type archived); N is 8 digits. Kept for ever, in the end without its configuration
//	drains/APP/ENV/N/FLEET       what draining a fleet cost that operation after its end; FLEET is role/release/incarnation
//	meta/sticky                  the secret that keys of sticky cookies are made of, minted once
//
// A state is written together with the events that explain the change, in one commit that is fenced by the state's
// version and by that of meta/leader: an agent that does not know yet that another leads cannot write any more. Fleet
// incarnations, node names and slots are minted in a state before a driver hears of them.
package orchestrator
