//go:build !(darwin || freebsd || linux)

package pagefile_test

import (
	"os"
	"testing"
)

// asChild does nothing, because this system has no forked children.
func asChild(*testing.T, *os.File) func() { return func() {} }
