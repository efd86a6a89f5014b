package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	var stdout, stderr bytes.Buffer
	if err := run(t.Context(), []string{"-latency", "1ms", "-file", path}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"meanwhile: ", "hydrated: ", "afterwards: 100 queries"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &stdout)
		}
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() < 20<<20 {
		t.Errorf("the local file is not there, or too small: %v", err)
	}

	t.Chdir("../..")
	stdout.Reset()
	if err := run(t.Context(), []string{"-latency", "0", "testdata/replicas/sandwiches"}, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(stdout.String(), "hydrated:   72 pages") {
		t.Errorf("another replica: %s", &stdout)
	}
	if err := run(t.Context(), []string{"none/at/all"}, &stdout, &stderr); err == nil {
		t.Error("a replica that is not there is no error")
	}
}
