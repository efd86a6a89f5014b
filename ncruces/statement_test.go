//go:build !cgo || two_drivers

package ncruces_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"
)

// TestStatement_LongValue runs a statement whose text is longer than a text may be,
// once its parameters are expanded.
func TestStatement_LongValue(t *testing.T) {
	client := memory.NewReplicaClient()
	name, _ := register(t, client, writing())
	writer := connect(t, "file:app.db?vfs="+name)
	exec(t, writer, `CREATE TABLE t (id INTEGER PRIMARY KEY, pad BLOB);
		WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 4000) INSERT INTO t SELECT n, randomblob(900) FROM c`)
	value(t, writer, "PRAGMA litestream_sync")

	name, _ = register(t, client, litestream.Options{PollInterval: -1})
	reader := connect(t, "file:app.db?vfs="+name)
	const most = 1 << 20
	limit := 0
	setLimit := func(n int) {
		t.Helper()
		err := reader.Raw(func(c any) error {
			limit = c.(driver.Conn).Raw().Limit(sqlite3.LIMIT_LENGTH, n)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	setLimit(most)
	ids := make([]string, 200)
	for i := range ids {
		ids[i] = fmt.Sprint(1 + i*19)
	}
	var count int
	query := "SELECT count(pad) FROM t WHERE length(pad) <> length(?) AND id IN (" + strings.Join(ids, ",") + ")"
	if err := reader.QueryRowContext(t.Context(), query, bytes.Repeat([]byte{1}, most*2/3)).Scan(&count); err != nil {
		t.Fatal(err)
	}
	if count != len(ids) {
		t.Errorf("counted %d rows, want %d", count, len(ids))
	}
	if setLimit(-1); limit != most {
		t.Errorf("the limit of the connection is %d, want %d", limit, most)
	}
}
