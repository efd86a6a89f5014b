package extension_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/extension"
)

func TestEnvironment_Params(t *testing.T) {
	for _, c := range []struct {
		name         string
		env          extension.Environment
		params, want map[string]string
	}{
		{"nothing", nil, nil, nil},
		{"variables", extension.Environment{"LITESTREAM_POLL_INTERVAL": "2s", "LITESTREAM_CACHE_SIZE": "64MiB", "LITESTREAM_L0_RETENTION": ""}, nil,
			map[string]string{"poll_interval": "2s", "cache_size": "64MiB"}},
		{"the name goes first", extension.Environment{"LITESTREAM_POLL_INTERVAL": "2s", "LITESTREAM_WRITE_ENABLED": "true"},
			map[string]string{"poll_interval": "3s", "mode": "rw"},
			map[string]string{"poll_interval": "3s", "write_enabled": "true", "mode": "rw"}},
		{"a path enables hydration", extension.Environment{"LITESTREAM_HYDRATION_PATH": "/h"}, nil,
			map[string]string{"hydration_path": "/h", "hydration_enabled": "true"}},
		{"so does one in the name", nil, map[string]string{"hydration_path": "/h"},
			map[string]string{"hydration_path": "/h", "hydration_enabled": "true"}},
		{"unless it is disabled", extension.Environment{"LITESTREAM_HYDRATION_PATH": "/h", "LITESTREAM_HYDRATION_ENABLED": "false"}, nil,
			map[string]string{"hydration_path": "/h", "hydration_enabled": "false"}},
	} {
		got, err := c.env.Params(c.params)
		if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

// TestEnvironment_Malformed: whichever option is malformed, the error names its variable.
func TestEnvironment_Malformed(t *testing.T) {
	variables := []string{"LITESTREAM_DEFAULT_VFS", "LITESTREAM_REPLICA_URL"}
	for _, name := range litestream.OptionNames() {
		if !strings.HasSuffix(name, "_path") { // anything is a path
			variables = append(variables, "LITESTREAM_"+strings.ToUpper(name))
		}
	}
	for _, variable := range variables {
		err := extension.Environment{variable: "of no kind"}.Check()
		if err == nil || !strings.HasPrefix(err.Error(), variable+": ") {
			t.Errorf("%s: %v", variable, err)
		}
	}
	if err := (extension.Environment{"LITESTREAM_REPLICA_URL": "file:///x", "LITESTREAM_DEFAULT_VFS": "true", "LITESTREAM_FOO": "?"}).Check(); err != nil {
		t.Error(err)
	}
}
