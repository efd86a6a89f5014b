//go:build cgo

// The functions are those of mattn/go-sqlite3 with psanford/sqlite3vfs.

package docs_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/mattn/go-sqlite3"
	"github.com/psanford/sqlite3vfs"
)

// TestSQL checks that sql.md has every SQL function, PRAGMA and key of
// litestream_status that there is, and no other.
func TestSQL(t *testing.T) {
	sql.Register("sqlite3-docs", &sqlite3.SQLiteDriver{ConnectHook: litestream.RegisterFunctions})
	vfs := litestream.NewVFS(file.NewReplicaClient(sandwiches), &litestream.Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)})
	if err := sqlite3vfs.RegisterVFS("docs", vfs); err != nil {
		t.Fatal(err)
	}
	defer vfs.Close(context.Background())
	db, err := sql.Open("sqlite3-docs", "file:app.db?vfs=docs")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()

	text := readFile(t, "docs/sql.md")
	pragmas := codeOf(text, "PRAGMA")
	for _, name := range pragmas {
		var value string
		if err := db.QueryRow("PRAGMA " + name).Scan(&value); err != nil && name != "litestream_sync" {
			t.Errorf("PRAGMA %s: %v", name, err)
		}
	}

	var documented, functions []string
	for _, m := range regexp.MustCompile("`(litestream_\\w+)\\(x?\\)`").FindAllStringSubmatch(text, -1) {
		documented = append(documented, m[1])
	}
	rows, err := db.Query("SELECT DISTINCT name FROM pragma_function_list WHERE name LIKE 'litestream_%'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		functions = append(functions, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(functions)
	slices.Sort(documented)
	if documented = slices.Compact(documented); !slices.Equal(functions, documented) {
		t.Errorf("functions are %q, documented are %q", functions, documented)
	}
	for _, name := range functions {
		if !strings.HasPrefix(name, "litestream_set_") && !slices.Contains(pragmas, name) {
			t.Errorf("PRAGMA %s is not documented", name)
		}
	}

	var status map[string]any
	var value []byte
	if err := db.QueryRow("PRAGMA litestream_status").Scan(&value); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(value, &status); err != nil {
		t.Fatal(err)
	}
	keys := codeOf(text, "key")
	for name := range status {
		// One row has the bytes of each kind of reads by one word.
		if !slices.Contains(keys, name) && !slices.Contains(keys, strings.Replace(name, "_read_bytes", "_reads", 1)) {
			t.Errorf("key %s of litestream_status is not documented", name)
		}
	}
	for _, name := range keys {
		if _, ok := status[name]; !ok && name != "_bytes" && name != "read" {
			t.Errorf("litestream_status has no key %s; it has %v", name, reflect.ValueOf(status).MapKeys())
		}
	}
}

// TestSQL_Changes checks that sql.md has the arguments and columns of
// litestream_changes, in their order, and no others.
func TestSQL_Changes(t *testing.T) {
	vfs := litestream.NewVFS(file.NewReplicaClient(sandwiches), &litestream.Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)})
	if err := litestream.RegisterVFS("docs-changes", vfs); err != nil {
		t.Fatal(err)
	}
	defer vfs.Close(context.Background())
	db, err := sql.Open("sqlite3", "file:app.db?vfs=docs-changes")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT name, hidden FROM pragma_table_xinfo('litestream_changes')")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	has := make(map[bool][]string) // by whether they are hidden
	for rows.Next() {
		var name string
		var hidden bool
		if err := rows.Scan(&name, &hidden); err != nil {
			t.Fatal(err)
		}
		has[hidden] = append(has[hidden], name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	text := readFile(t, "docs/sql.md")
	for heading, names := range map[string][]string{"column": has[false], "argument": has[true]} {
		if documented := codeOf(text, heading); !slices.Equal(names, documented) {
			t.Errorf("each %s: %q, documented are %q", heading, names, documented)
		}
	}
}
