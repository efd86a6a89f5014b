package extension_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/extension"
)

func TestLog(t *testing.T) {
	var log extension.Log
	first, second := filepath.Join(t.TempDir(), "1"), filepath.Join(t.TempDir(), "2")
	logger := log.Logger()
	configure := func(path, level string) {
		t.Helper()
		if err := log.Configure(extension.Environment{extension.LogFile: path, extension.LogLevel: level}); err != nil {
			t.Fatal(err)
		}
	}
	configure(first, "")
	logger.Debug("one")
	logger.Info("two")
	configure(second, "debug")
	logger.Debug("three")
	configure(second, "ERROR")
	logger.Warn("four")
	logger.Error("five", "key", "value")
	configure(first, "info")
	logger.Info("six")
	configure("", "")
	for path, want := range map[string]string{first: "two six", second: "three five"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(b)) {
			_, message, _ := strings.Cut(line, "msg=")
			got = append(got, strings.Fields(message)[0])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s has %q", path, got)
		}
	}
	for variable, value := range map[string]string{extension.LogLevel: "loud", extension.LogFile: filepath.Join(t.TempDir(), "no", "folder")} {
		if err := log.Configure(extension.Environment{variable: value}); err == nil || !strings.HasPrefix(err.Error(), variable+": ") {
			t.Errorf("%s: %v", variable, err)
		}
	}
}

// TestLog_Files names files that are not logs, and paths that are not files.
// They are not touched.
func TestLog_Files(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("database"), []byte("SQLite format 3\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path("log"), []byte("time=2026-01-01T00:00:00Z level=INFO msg=before\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("log", path("link")); err != nil {
		t.Skip(err)
	}
	var log extension.Log
	configure := func(name string) error {
		return log.Configure(extension.Environment{extension.LogFile: name})
	}
	for _, name := range []string{"database", "link"} {
		if err := configure(path(name)); err == nil || !strings.HasPrefix(err.Error(), extension.LogFile+": ") || !strings.Contains(err.Error(), "not touched") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := configure(dir); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a folder: %v", err)
	}
	if b, err := os.ReadFile(path("database")); err != nil || string(b) != "SQLite format 3\x00" {
		t.Errorf("the database is %q, %v", b, err)
	}
	for _, name := range []string{path("log"), path("new"), os.DevNull} {
		if err := configure(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		log.Logger().Info("after")
	}
	if b, err := os.ReadFile(path("log")); err != nil || strings.Count(string(b), "\n") != 2 || !strings.Contains(string(b), "before") {
		t.Errorf("the log is %q, %v", b, err)
	}
	if info, err := os.Stat(path("new")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new log has mode %v, %v", info.Mode(), err)
	}
	// Two processes append to the same file.
	if err := configure(path("new")); err != nil {
		t.Fatal(err)
	}
	var other extension.Log
	if err := other.Configure(extension.Environment{extension.LogFile: path("new")}); err != nil {
		t.Fatal(err)
	}
	log.Logger().Info("one")
	other.Logger().Info("two")
	log.Logger().Info("three")
	if b, err := os.ReadFile(path("new")); err != nil || strings.Count(string(b), "\n") != 4 {
		t.Errorf("the log of two is %q, %v", b, err)
	}
}
