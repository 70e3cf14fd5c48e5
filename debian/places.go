package debian

// Places of dpkg's records in a system (dpkg(1), FILES). An image made without dpkg has a file for each package in
// StatusParts.
const (
	StatusFile  = "var/lib/dpkg/status"
	StatusParts = "var/lib/dpkg/status.d"
	InfoFolder  = "var/lib/dpkg/info"
)
