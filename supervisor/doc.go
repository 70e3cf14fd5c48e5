// Package supervisor decides how the services of one image live together: the order in which they start and stop, when
// one that ended is started again, and when the whole ends. It only decides; the program supervise below it, PID 1 of
// images that need one, acts.
//
// # Rules
//
// Services start in an order in which each comes after those that its `after` names, otherwise by name, one right after
// the other: nobody waits until one is ready.
//
// A service that ended is started again if its restart policy says so: "always", or "on-failure" when it ended with
// another code than 0 or by a signal. The first time after 1 s, then after twice as long each time up to 30 s; a service
// that ran for 10 s begins at 1 s again. A service that cannot be started at all counts as one that ended with code 127 (no
// such program) or 126.
//
// A service with the policy "no", which is the default, is what the image is there for: when it ends, the others are
// stopped and the whole ends with its code. A service with "on-failure" that ended with 0 has done its work; when no
// service is left, the whole ends with 0.
//
// TERM, INT and QUIT stop the whole: each service gets its stop signal once all that come after it have ended, so that those
// which have nothing to do with each other stop side by side, and is killed when its grace is over. The exit code is then 0.
// Other signals (HUP, USR1, USR2, WINCH …) are passed on to every service that runs.
//
// A service is its process group: when its first process ends, what is left of the group is killed.
//
// # The file
//
// The program reads one JSON file:
//
//	{"schema":1,
//	 "prefix":false,                    each line of output begins with "NAME | "
//	 "services":[
//	  {"name":"web","cmd":["/bin/web"],
//	   "restart":"always",              "no" (default), "on-failure", "always"
//	   "user":"www-data",               "": that of the supervisor; else name, uid, name:group or uid:gid
//	   "env":["K=V"],                   over the supervisor's own environment
//	   "dir":"/srv",                    "": that of the supervisor
//	   "after":["db"],
//	   "stop":{"signal":"TERM","grace":"10s"}}]}
//
// Names of users and groups are looked up in the image's own /etc/passwd and /etc/group.
package supervisor
