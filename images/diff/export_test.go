package diff

// The parsers of what images say of themselves, for the fuzz tests.
var (
	ParseComponents = parseComponents
	ParseListed     = parseListed
)
