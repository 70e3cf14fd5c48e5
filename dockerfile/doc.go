// Package dockerfile builds a Dockerfile with the Docker engine and brings the result into the image store, for those who
// have one and want to start from it. It is the only recipe that needs an engine, and it makes no promise of the same image
// from the same files: what a build gets from the network is not pinned.
//
// The build is made by the program docker, with the folder of the Dockerfile as its context, so that .dockerignore, build
// cache, credentials and DOCKER_HOST are as its user knows them. Of the programs of that name in PATH the first counts
// that has buildx, else the first with BuildKit built in (before 23.0), else the first, with the engine's own builder.
//
// The image that a build gave is named in the annotation release.docker.image of the image in the store: a build that
// gives the same again changes nothing. In the engine it stays as `docker build` leaves it, without a name.
package dockerfile
