package docs_test

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// links of security.md to tests: a text with their names, and a file.
var (
	testLink = regexp.MustCompile(`\[([^\]]*)\]\((\.\./[^)#]+)\)`)
	testName = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
)

// TestSecurity looks for each test that security.md names in the file that it links.
// Each line of a table of what parties cannot do has such a link.
func TestSecurity(t *testing.T) {
	links := 0
	for line := range strings.Lines(readFile(t, "docs/security.md")) {
		for _, m := range testLink.FindAllStringSubmatch(line, -1) {
			file := path.Join("docs", m[2])
			for _, name := range testName.FindAllStringSubmatch(m[1], -1) {
				links++
				if !strings.Contains(readFile(t, file), "\nfunc "+name[1]+"(") {
					t.Errorf("%s has no %s", file, name[1])
				}
			}
		}
		isRow := strings.HasPrefix(line, "| ") && !strings.HasSuffix(line, "| tests |\n")
		if isRow && !testLink.MatchString(line) {
			t.Errorf("no test is linked: %s", line)
		}
	}
	if links < 50 {
		t.Errorf("%d tests are linked", links)
	}
}
