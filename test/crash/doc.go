// Package crash kills the built binary by SIGKILL at every point of internal/failpoint: the agent while it releases, rolls back,
// replaces, scales and destroys under load, the router while it takes a table, a bake while it writes an image. Each time the
// process is started again as a service manager would, the command is repeated as a person would, and nothing may be lost,
// left over or half done. With RELEASE_STRESS=full each point is died at every time that it is passed; else once.
//
// It also fills the disk below agent, images and router.
package crash
