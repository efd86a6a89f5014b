package extension

import (
	"maps"
	"strings"
	"testing"
)

// FuzzEnvironment reads environments and parameters of file names. An error names a
// variable or a parameter.
func FuzzEnvironment(f *testing.F) {
	f.Add("LITESTREAM_POLL_INTERVAL", "1s", "LITESTREAM_URI_PARAMETERS", "replica_url, cache_size", "cache_size", "10MiB")
	f.Add("LITESTREAM_LOCAL_FILES", "none", "LITESTREAM_DEFAULT_VFS", "yes", "replica_url", "s3://b/c?d=e")
	f.Add("LITESTREAM_REPLICA_URL", "file:///x", "LITESTREAM_POL_INTERVAL", "1", "", "")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, param, value string) {
		e := Environment{name1: value1, name2: value2}
		before := maps.Clone(e)
		if err := e.Check(); err != nil && err.Error() == "" {
			t.Error("an error without text")
		}
		params := map[string]string{param: value}
		_ = e.Allow(params)
		if got, err := e.Params(params); err == nil && got[param] != value {
			t.Errorf("parameter %q is %q, and not %q", param, got[param], value)
		}
		_, _ = e.IsDefaultVFS()
		for _, sentence := range e.Unknown() {
			if !strings.Contains(sentence, prefix) {
				t.Errorf("%q names no variable", sentence)
			}
		}
		if !maps.Equal(e, before) {
			t.Error("the environment was changed")
		}
	})
}
