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
