package sqltest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/replica"
)

var update = flag.Bool("update-trace", false, "rewrite the golden file testdata/trace.txt")

// Trace compares the requests of a database that is opened, queried, followed and
// moved in time with the file testdata/trace.txt. The writer and the reader are
// clients of one empty replica. take returns the reader's requests since its last
// call, in an order that does not depend on time.
func Trace(t *testing.T, writer, reader replica.Client, take func() string) {
	p := newPrimary(t, writer)
	take()
	conn := open(t, register(t, reader, &litestream.Options{ReadAheadSize: -1, PollInterval: time.Hour}))
	var text strings.Builder
	step := func(name string) { fmt.Fprintf(&text, "%s\n%s\n", name, indent(take())) }

	mustQuery(t, conn, "PRAGMA litestream_txid")
	step("open")
	if got := mustQuery(t, conn, "SELECT n FROM t WHERE id = 444"); got != "444" {
		t.Errorf("first row is %s", got)
	}
	step("first row")
	if got := mustQuery(t, conn, "SELECT n FROM t WHERE id = 444"); got != "444" {
		t.Errorf("the row again is %s", got)
	}

	step("the row again")

	before := p.TXID()
	p.Exec("UPDATE t SET n = 0 WHERE id <= 10")
	take()
	mustQuery(t, conn, fmt.Sprintf("PRAGMA litestream_wait = '%s'", p.TXID()))
	step("follow")
	if got := mustQuery(t, conn, "SELECT sum(n) FROM t WHERE id <= 11"); got != "11" {
		t.Errorf("after a transaction: %s", got)
	}
	step("rows of the transaction")
	mustQuery(t, conn, fmt.Sprintf("PRAGMA litestream_txid = '%s'", before-1))
	step("travel")
	if got := mustQuery(t, conn, "SELECT n FROM t WHERE id = 5"); got != "5" {
		t.Errorf("in the past: %s", got)
	}
	step("a row in the past")
	compare(t, text.String())
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}

// compare compares a text with the golden file.
func compare(t *testing.T, got string) {
	t.Helper()
	file := filepath.Join("testdata", "trace.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
