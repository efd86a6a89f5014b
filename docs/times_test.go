package docs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/timeexpr"
)

// TestTimes checks that the times in time-travel.md are understood.
func TestTimes(t *testing.T) {
	_, text, _ := strings.Cut(readFile(t, "docs/time-travel.md"), "\n## Times\n")
	list, _, _ := strings.Cut(text, "`PRAGMA ")
	found := 0
	for _, m := range codePattern.FindAllString(list, -1) {
		s := strings.Trim(m, "`")
		if s == "latest" {
			continue // the PRAGMA knows it
		}
		found++
		if _, err := timeexpr.Parse(s, time.Now()); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	if found < 15 {
		t.Errorf("%d times found", found)
	}
}
