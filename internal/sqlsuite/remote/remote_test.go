package remote

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// start starts a process without an extension.
func start(t *testing.T) *Process {
	t.Helper()
	if _, err := os.Stat(Python); err != nil && os.Getenv("LITESTREAM_TEST_ALL") == "" {
		t.Skip(err)
	}
	p, err := Start(exec.Command(Python, Args("")...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// open opens a database of a process, with one connection.
func open(t *testing.T, p *Process, uri string) *sql.DB {
	t.Helper()
	db := sql.OpenDB(p.Connector(uri))
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestProcess(t *testing.T) {
	p := start(t)
	uri := "file:" + filepath.Join(t.TempDir(), "test.db")
	db := open(t, p, uri)

	// Values of every type keep their type and value.
	for _, want := range []any{nil, int64(math.MinInt64), int64(7), 0.1, -1e300, math.Inf(1), "", "text ' \x00 ä", []byte{}, []byte{0, 255}} {
		var got any
		if err := db.QueryRow("SELECT ?", want).Scan(&got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%#v comes back as %#v, %v", want, got, err)
		}
	}
	var text string
	if err := db.QueryRow("SELECT CAST(x'FF41' AS TEXT)").Scan(&text); err != nil || text != "\xffA" {
		t.Errorf("a text that is not UTF-8 is %q, %v", text, err)
	}

	// Statements and transactions work.
	if _, err := db.Exec("CREATE TABLE t (v UNIQUE)"); err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	result, err := tx.Exec("INSERT INTO t VALUES (?), (?)", 1, "two")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); n != 2 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	stmt, err := db.Prepare("INSERT INTO t VALUES (?)")
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	for i := range 2 {
		if _, err := stmt.Exec(i); err != nil {
			t.Error(err)
		}
	}
	var count int
	if err := open(t, p, uri).QueryRow("SELECT count(*) FROM t").Scan(&count); err != nil || count != 2 {
		t.Errorf("another connection sees %d rows, %v", count, err)
	}

	// Errors have their codes.
	for query, code := range map[string]int{"INSERT INTO t VALUES (1)": 2067, "SELEC": 1, "SELECT * FROM nowhere": 1} {
		var e *Error
		if _, err := db.Exec(query); !errors.As(err, &e) || e.Code != code || e.Message == "" {
			t.Errorf("%s: %v, want code %d", query, err, code)
		}
	}
	var e *Error
	if err := open(t, p, "file:/nowhere/test.db").Ping(); !errors.As(err, &e) || e.Code != 14 {
		t.Errorf("open: %v, want code 14", err)
	}

	// The end of a context interrupts the statement.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := db.QueryRowContext(ctx, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n").Scan(&count); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a statement that never ends: %v", err)
	}
	if err := db.QueryRow("SELECT count(*) FROM t").Scan(&count); err != nil || count != 2 {
		t.Errorf("after an interrupt: %d rows, %v", count, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// A process that ends is an error of every call, not one that waits for ever.
func TestProcess_Ends(t *testing.T) {
	p := start(t)
	db := open(t, p, "file::memory:")
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("SELECT 1"); err == nil {
		t.Error("a statement succeeds without a process")
	}
	if err := p.Close(); err == nil {
		t.Error("a process that was killed ends well")
	}
	if _, err := Start(exec.Command(Python, Args("/nowhere/extension.so")...)); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("without the extension: %v", err)
	}
}
