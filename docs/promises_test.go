package docs_test

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var promisePattern = regexp.MustCompile(`(?m)^func (TestPromise(\d+)_\w+)\(`)

// TestPromises checks that design.md lists the tests of every promise.
func TestPromises(t *testing.T) {
	byPromise := make(map[string][]string) // test and file
	for _, name := range files(t, "_test.go") {
		for _, m := range promisePattern.FindAllStringSubmatch(readFile(t, name), -1) {
			byPromise[m[2]] = append(byPromise[m[2]], fmt.Sprintf("[`%s`](../%s)", m[1], name))
		}
	}
	var b strings.Builder
	b.WriteString("| promise | tests |\n|---|---|\n")
	for _, n := range promisesOfDesign(t) {
		if n == 10 {
			continue // it is tested in another module
		}
		tests := byPromise[fmt.Sprint(n)]
		if len(tests) == 0 {
			t.Errorf("promise %d has no test", n)
		}
		slices.Sort(tests)
		fmt.Fprintf(&b, "| %d | %s |\n", n, strings.Join(tests, ", "))
	}
	checkMade(t, path.Join("docs", "design.md"), b.String())
}
