//go:build !race

package testscale

// Race reports whether the race detector runs.
const Race = false
