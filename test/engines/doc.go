// Package engines runs several Docker engines on this machine, each as on a machine of its own: with processes, a network,
// a host name, images and a disk folder of its own, and an address in a private network that only this machine reaches. Tests kill
// the engine alone, or the whole machine, unplug it, and start it again.
//
//	net := engines.NewNetwork(t)
//	list := net.Start("alpha", "beta")          // at once; they end with the test
//	list[0].Local()                             // unix:///…/docker.sock, no TLS, from this machine
//	list[0].TCP()                               // tcp://100.x.y.2:2376, with the certificates in net.Certs()
//	list[0].Kill()                              // the engine, by SIGKILL; its containers run on
//	list[0].Restart()                           // another engine process over the same state
//	list[0].PowerOff(); list[0].PowerOn()       // everything; its disk stays
//	list[0].Unplug(); list[0].Plug()            // its network line
//
// It needs root, dockerd and ip. An engine's log is in the test's output when the test fails.
package engines
