// Package storetest tests the clients of object stores: against the real
// servers that scripts/servers starts, and against small services within the
// process that can answer wrongly.
package storetest

import (
	"net/url"
	"os"
	"testing"
)

// Server returns the address of a test server, from the environment variable of
// that name. If the variable is not set, the test is skipped, or fails if
// LITESTREAM_TEST_ALL is set.
func Server(t testing.TB, variable string) *url.URL {
	t.Helper()
	value := os.Getenv(variable)
	switch {
	case value == "" && os.Getenv("LITESTREAM_TEST_ALL") != "":
		t.Fatalf("%s is not set, and LITESTREAM_TEST_ALL is", variable)
	case value == "":
		t.Skipf(`%s is not set: start a server with eval "$(scripts/servers start)"`, variable)
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" {
		t.Fatalf("%s=%s is no URL", variable, value)
	}
	return u
}
