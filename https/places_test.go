package https_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/replica"
)

// TestPlaces opens databases where something else lies than LTX files.
func TestPlaces(t *testing.T) {
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		s := newServer(t)
		return sqltest.Root{
			Client: func(at string) replica.Client { return newClient(t, s.URL+"/"+at) },
			Put: func(name string, body []byte) {
				file := filepath.Join(s.root, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, body, 0o666); err != nil {
					t.Fatal(err)
				}
			},
			ReadOnly: true,
			Instead: map[string]string{
				"other layout":    "page 1 in 9/", // it reads both layouts, and there is no database in the file
				"nothing":         "web server has no index.json at the place of the replica and no listing of its folders",
				"sqlite database": "there is a SQLite database at the place of the replica",
			},
		}
	})
}
