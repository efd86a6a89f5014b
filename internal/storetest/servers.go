// Package storetest tests the clients of object stores against real servers,
// which scripts/servers starts.
package storetest

import (
	"net/url"
	"os"
	"testing"
)

// Server returns the address of a test server by the name of its environment
// variable. Where there is none, the test is skipped, or fails if
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
