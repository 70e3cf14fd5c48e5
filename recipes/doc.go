// Package recipes reads recipes.
package recipes
