package cvfs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinked checks that the table has each function of SQLite that the C code of
// package cvfs calls. One that is missing would be a call of NULL.
func TestLinked(t *testing.T) {
	table, err := os.ReadFile(filepath.Join("linked", "linked.c"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.c")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	called := map[string]bool{}
	for _, name := range files {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\b(sqlite3_[a-z0-9_]+)\(`).FindAllSubmatch(code, -1) {
			called[string(m[1])] = true
		}
	}
	if len(called) < 10 {
		t.Errorf("only %d functions are called", len(called))
	}
	for name := range called {
		if !strings.Contains(string(table), " = "+name+",") {
			t.Errorf("the table does not have %s", name)
		}
	}
}
