package extension_test

import (
	"maps"
	"slices"
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
		{"so does a mode", nil, map[string]string{"hydration_mode": "pages"},
			map[string]string{"hydration_mode": "pages", "hydration_enabled": "true"}},
		{"unless it is disabled", extension.Environment{"LITESTREAM_HYDRATION_PATH": "/h", "LITESTREAM_HYDRATION_ENABLED": "false"}, nil,
			map[string]string{"hydration_path": "/h", "hydration_enabled": "false"}},
	} {
		got, err := c.env.Params(c.params)
		if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

// TestEnvironment_Malformed makes each option malformed. The error names its
// variable.
func TestEnvironment_Malformed(t *testing.T) {
	variables := []string{"LITESTREAM_DEFAULT_VFS", "LITESTREAM_REPLICA_URL", "LITESTREAM_URI_PARAMETERS", "LITESTREAM_LOCAL_FILES"}
	for _, name := range litestream.OptionNames() {
		if !strings.HasSuffix(name, "_path") { // any value is a valid path
			variables = append(variables, "LITESTREAM_"+strings.ToUpper(name))
		}
	}
	for _, variable := range variables {
		err := extension.Environment{variable: "of no kind"}.Check()
		if err == nil || !strings.HasPrefix(err.Error(), variable+": ") {
			t.Errorf("%s: %v", variable, err)
		}
	}
	for _, rest := range []string{"?endpoint=http://minio:9000/%zz", "?a=b;c=d", "?x=1", "#x", "%zz"} {
		err := extension.Environment{"LITESTREAM_REPLICA_URL": "file:///x" + rest}.Check()
		if err == nil || !strings.HasPrefix(err.Error(), "LITESTREAM_REPLICA_URL: ") {
			t.Errorf("%s: %v", rest, err)
		}
	}
	if err := (extension.Environment{"LITESTREAM_REPLICA_URL": "file:///x", "LITESTREAM_DEFAULT_VFS": "true", "LITESTREAM_FOO": "?"}).Check(); err != nil {
		t.Error(err)
	}
}

// TestEnvironment_Allow checks that an unset list allows all parameters, and an
// empty list none.
func TestEnvironment_Allow(t *testing.T) {
	all := map[string]string{"replica_url": "s3://user:Pa55@b", "vfs": "litestream", "mode": "rw", "unknown": "1"}
	for _, name := range litestream.OptionNames() {
		all[name] = "Pa55"
	}
	check := func(e extension.Environment, refused ...string) {
		t.Helper()
		for name, value := range all {
			err := e.Allow(map[string]string{name: value})
			if got := err != nil; got != slices.Contains(refused, name) {
				t.Errorf("%v: %s: %v", e, name, err)
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "parameter "+name+" is not allowed: ") || strings.Contains(err.Error(), "Pa55")) {
				t.Errorf("%v: %v", e, err)
			}
		}
		if err := e.Allow(all); (err != nil) != (len(refused) > 0) {
			t.Errorf("%v: all: %v", e, err)
		}
	}
	refused := append(litestream.OptionNames(), "replica_url")
	check(nil)
	check(extension.Environment{"LITESTREAM_URI_PARAMETERS": ""}, refused...)
	check(extension.Environment{"LITESTREAM_URI_PARAMETERS": " , "}, refused...)
	check(extension.Environment{"LITESTREAM_URI_PARAMETERS": strings.Join(refused, ", ")})
	check(extension.Environment{"LITESTREAM_URI_PARAMETERS": "cache_size,replica_url"},
		slices.DeleteFunc(refused, func(name string) bool { return name == "cache_size" || name == "replica_url" })...)
	if err := (extension.Environment{"LITESTREAM_URI_PARAMETERS": "cache_size,cash_size"}).Check(); err == nil || !strings.Contains(err.Error(), `unknown parameter "cash_size"`) {
		t.Error(err)
	}
	for pragma, want := range map[string]bool{"litestream_write_enabled": true, "LITESTREAM_WRITE_ENABLED": true, "litestream_time": false, "journal_mode": false} {
		if name, ok := extension.ParameterOf(pragma); ok != want || ok && name != "write_enabled" {
			t.Errorf("%s: %s, %v", pragma, name, ok)
		}
	}
}
