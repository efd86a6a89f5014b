package litestream_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// Files has every file of a replica in order, and says where one can travel to.
func TestFiles(t *testing.T) {
	store := memoryClient()
	p := ltxtest.New(t, store, ltxtest.Options{})
	for i := range 6 {
		p.Exec(fmt.Sprintf("CREATE TABLE t%d (a)", i))
	}
	p.Compact(1, 2, 4)
	p.Snapshot()
	p.Exec("CREATE TABLE u (a)")
	p.Delete(0, 1, 1)
	p.Delete(0, 2, 2)
	vfsName, vfs := newVFS(t, store, &litestream.Options{PollInterval: -1})
	conn := openConn(t, vfsName, "app.db")
	files, err := vfs.Files(t.Context(), "app.db")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range files {
		got = append(got, fmt.Sprintf("%d/%d-%d %t", f.Level, f.MinTXID, f.MaxTXID, f.Reachable))
		if want := p.Time(f.MaxTXID); f.Level == 0 && !f.Time.Equal(want) || f.Size <= 0 {
			t.Errorf("%+v, want the time %s", f, want)
		}
		// A file is reachable if its last transaction can be travelled to.
		_, err := conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA litestream_txid = '%s'", f.MaxTXID))
		if (err == nil) != f.Reachable {
			t.Errorf("%+v, and travelling there: %v", f, err)
		}
	}
	want := "[0/3-3 false 0/4-4 false 0/5-5 false 0/6-6 true 0/7-7 true 1/2-4 false 9/1-6 true]"
	if fmt.Sprint(got) != want {
		t.Errorf("files are %v, want %s", got, want)
	}
	place := vfs.Stats()[0].Place
	if again, err := vfs.Files(t.Context(), place); err != nil || len(again) != len(files) {
		t.Errorf("by the place %q there are %d files, %v", place, len(again), err)
	}
}

// KeepFresh makes a database that sleeps follow its replica for a while, and nothing
// opens it.
func TestKeepFresh(t *testing.T) {
	store := memoryClient()
	p := newPrimary(t, store, ltxtest.Options{}, 10)
	vfsName, vfs := newVFS(t, store, &litestream.Options{PollInterval: time.Millisecond, PollIdleAfter: time.Nanosecond})
	if err := vfs.KeepFresh("app.db"); err == nil || len(vfs.Stats()) != 0 {
		t.Errorf("a database that is not open is kept fresh: %v", err)
	}
	openConn(t, vfsName, "app.db")
	waitFor(t, "sleep", func() bool { return vfs.Stats()[0].Poller == "asleep" })
	txid := p.Exec("CREATE TABLE u (a)")
	if got := vfs.Stats()[0].TXID; got == txid {
		t.Fatalf("it follows while it sleeps")
	}
	waitFor(t, "the news", func() bool {
		if err := vfs.KeepFresh("app.db"); err != nil {
			t.Fatal(err)
		}
		return vfs.Stats()[0].TXID == txid
	})
	waitFor(t, "sleep", func() bool { return vfs.Stats()[0].Poller == "asleep" })
}

// CountChanges counts what Changes returns.
func TestCountChanges(t *testing.T) {
	store := memoryClient()
	p := ltxtest.New(t, store, ltxtest.Options{})
	p.Exec("CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE same (x); INSERT INTO a VALUES (1), (2), (3), (4); INSERT INTO b VALUES (1)")
	from := p.TXID()
	p.Exec("INSERT INTO a VALUES (5), (6), (7); DELETE FROM a WHERE x = 1; UPDATE a SET x = -x WHERE x IN (2, 3); DROP TABLE b; CREATE TABLE b (x PRIMARY KEY, y) WITHOUT ROWID; CREATE TABLE c (x); ALTER TABLE a ADD COLUMN z")
	vfsName, vfs := newVFS(t, store, &litestream.Options{PollInterval: -1})
	openConn(t, vfsName, "app.db")
	got, err := vfs.CountChanges(t.Context(), "app.db", from, 0)
	if want := "[{a 3 1 2 altered} {b 0 1 0 replaced} {c 0 0 0 created}]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("the changes are %v, want %s, %v", got, want, err)
	}
	if got, err := vfs.CountChanges(t.Context(), "app.db", p.TXID(), from, "c"); err != nil || fmt.Sprint(got) != "[{c 0 0 0 dropped}]" {
		t.Errorf("backwards they are %v, %v", got, err)
	}
	if got, err := vfs.CountChanges(t.Context(), "app.db", from, 0xffff); err == nil {
		t.Errorf("to a transaction that does not exist they are %v", got)
	}
}

// Files, History and CountChanges fail while storage does. What they return then is
// not taken for a replica without files.
func TestFiles_StorageFails(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	store := decorate.NewFault(client)
	vfsName, vfs := newVFS(t, store, &litestream.Options{PollInterval: -1})
	openConn(t, vfsName, "app.db")
	mustQuery(t, openConn(t, vfsName, "app.db"), "SELECT n FROM t")
	defer store.Add(decorate.Rule{Err: fmt.Errorf("list: %w", fs.ErrPermission)})()
	for call, do := range map[string]func() error{
		"Files":        func() error { _, err := vfs.Files(t.Context(), "app.db"); return err },
		"History":      func() error { _, err := vfs.History(t.Context(), "app.db"); return err },
		"CountChanges": func() error { _, err := vfs.CountChanges(t.Context(), "app.db", 1, 0); return err },
	} {
		if err := do(); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), vfs.Stats()[0].Place) {
			t.Errorf("%s: %v", call, err)
		}
	}
}
