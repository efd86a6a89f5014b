package extension_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/extension"
)

func TestEnvironment_Unknown(t *testing.T) {
	got := extension.Environment{
		"LITESTREAM_HYDRATON_ENABLED": "1",
		"LITESTREAM_FOO":              "Pa55",
		"LITESTREAM_CACHE_SIZE":       "1MiB",
		"LITESTREAM_REPLICA_URL":      "file:///x",
		"LITESTREAM_TEST_ALL":         "1",
		"PATH":                        "/bin",
	}.Unknown()
	want := []string{
		"unknown variable LITESTREAM_FOO is ignored",
		"unknown variable LITESTREAM_HYDRATON_ENABLED is ignored, did you mean LITESTREAM_HYDRATION_ENABLED?",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestEnvironment_StoreVariables looks for variables in the code of the stores:
// none of them is unknown.
func TestEnvironment_StoreVariables(t *testing.T) {
	variable := regexp.MustCompile(`"(LITESTREAM_[A-Z0-9_]+)"`)
	found := 0
	for _, store := range []string{"s3", "gs", "abs", "sftp", "nats", "oss", "https", "webdav", "file", "replica", "internal/clientio"} {
		files, err := filepath.Glob(filepath.Join("..", "..", store, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(store, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			code, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range variable.FindAllStringSubmatch(string(code), -1) {
				found++
				if unknown := (extension.Environment{m[1]: "x"}).Unknown(); len(unknown) > 0 {
					t.Errorf("%s: %s", path, unknown)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no variable found")
	}
}
