package litestream_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// TestAllowParameter refuses parameters that a name may not set, in ATTACH and
// in sql.Open, before they have any effect. The error names the parameters, but
// no value.
func TestAllowParameter(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	var log testlog.Buffer
	vfsName, vfs := newVFS(t, client, &litestream.Options{
		Logger:         testlog.New(t, &log),
		AllowParameter: func(name, value string) bool { return name == "cache_size" && value != "3MiB" },
	})
	dir := t.TempDir()
	conn := openConn(t, vfsName, "app.db", "cache_size=2MiB", "cache=private", "mode=rw")
	for _, name := range append(litestream.OptionNames(), "replica_url") {
		value := "Pa55-" + dir + "/here"
		switch name {
		case "replica_url":
			value = "file://user:Pa55@" + dir
		case "cache_size":
			value = "3MiB" // AllowParameter decides by this value
		}
		before := len(log.String())
		err := wantCode(t, conn, "ATTACH 'file:app.db?vfs="+vfsName+"&"+name+"="+value+"' AS x", litestream.CodeCantOpen)
		got := log.String()[before:]
		if want := "parameter " + name + " is not allowed"; !strings.Contains(got, want) || strings.Contains(got, "Pa55") || strings.Contains(got, dir) {
			t.Errorf("%v; the log says %s, want %q and no value", err, got, want)
		}
		failsToOpen(t, vfsName, "other.db", &log, "parameter "+name+" is not allowed", name+"="+value)
	}
	mustExec(t, conn, "ATTACH 'file:app.db?vfs="+vfsName+"&cache_size=2MiB&_unknown=1&mode=ro' AS x")
	if n := len(vfs.Stats()); n != 1 {
		t.Errorf("%d databases", n)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if mustQuery(t, conn, "PRAGMA litestream_write_enabled") != "0" {
		t.Error("write mode is on")
	}
	wantCode(t, conn, "PRAGMA litestream_write_enabled = 1", litestream.CodeError)
	if s := status(t, conn); s.LastError == nil || !strings.Contains(s.LastError.Text, "parameter write_enabled is not allowed") {
		t.Errorf("last error: %+v", s.LastError)
	}
	if mustQuery(t, conn, "PRAGMA litestream_write_enabled") != "0" {
		t.Error("a PRAGMA turned write mode on")
	}
}

// TestAllowParameter_Default opens a database without AllowParameter, and with
// one that allows exactly the parameters in use.
func TestAllowParameter_Default(t *testing.T) {
	url := "file://" + t.TempDir()
	for _, allow := range []func(string, string) bool{
		nil,
		func(name, value string) bool {
			return slices.Contains([]string{"write_enabled", "buffer_path"}, name) || name == "replica_url" && value == url
		},
	} {
		vfsName, _ := newVFS(t, nil, &litestream.Options{AllowParameter: allow})
		conn := openConn(t, vfsName, "app.db", "replica_url="+url, "write_enabled=true", "buffer_path="+filepath.Join(t.TempDir(), "buffer"))
		mustExec(t, conn, "CREATE TABLE IF NOT EXISTS t (x)")
		mustExec(t, conn, "PRAGMA litestream_write_enabled = 0")
	}
}

// TestLocalFiles_None checks that every name without a replica is refused, and
// that temporary files still work.
func TestLocalFiles_None(t *testing.T) {
	t.Chdir(t.TempDir())
	client := memoryClient()
	numberedReplica(t, client, 1)
	var log testlog.Buffer
	const want = "it has no replica, and local files are not allowed"
	check := func(vfsName string) {
		t.Helper()
		conn := openConn(t, vfsName, "app.db")
		for _, statement := range []string{"ATTACH 'local.db' AS x", "ATTACH 'file:local.db?mode=ro' AS x", "ATTACH 'file:app.db-journal' AS x", "VACUUM INTO 'local.db'"} {
			before := len(log.String())
			wantCode(t, conn, statement, litestream.CodeCantOpen)
			if got := log.String()[before:]; !strings.Contains(got, want) {
				t.Errorf("%s: the log says %q", statement, got)
			}
		}
		failsToOpen(t, vfsName, "local.db", &log, want)
		mustExec(t, conn, "ATTACH '' AS temporary; CREATE TABLE temporary.t (x); INSERT INTO temporary.t SELECT n FROM main.t; CREATE TEMP TABLE u (x)")
		mustExec(t, conn, "ATTACH ':memory:' AS memory; CREATE TABLE memory.t (x)")
		if got := at(t, conn); got != "1" {
			t.Errorf("reads %s", got)
		}
	}
	vfsName, _ := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log), LocalFiles: litestream.NoLocalFiles})
	check(vfsName)
	vfsName, _ = newVFS(t, nil, &litestream.Options{Logger: testlog.New(t, &log), LocalFiles: litestream.NoLocalFiles,
		NewClient: func(name string) (litestream.ReplicaClient, error) {
			if name == "app.db" {
				return client, nil
			}
			return nil, nil
		}})
	check(vfsName)
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestLocalFiles_ManyReplicas makes a local file while many replicas are open. The log
// names five of them.
func TestLocalFiles_ManyReplicas(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	t.Chdir(t.TempDir())
	var log testlog.Buffer
	vfsName, _ := newVFS(t, nil, &litestream.Options{
		PollInterval: -1, Logger: testlog.New(t, &log),
		NewClient: func(name string) (litestream.ReplicaClient, error) {
			if strings.HasPrefix(name, "r") {
				return client, nil
			}
			return nil, nil
		},
	})
	for i := range 6 {
		openConn(t, vfsName, fmt.Sprintf("r%d.db", i))
	}
	mustExec(t, openConn(t, vfsName, "local.db"), "CREATE TABLE t (x)")
	if want := `replicas="[r0.db r1.db r2.db r3.db r4.db]"`; !strings.Contains(log.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, log.String())
	}
}

// TestLocalFiles_New makes local files by names that are not that of the replica.
func TestLocalFiles_New(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	dir := t.TempDir()
	t.Chdir(dir)
	var log testlog.Buffer
	said := func(f func()) string {
		before := len(log.String())
		f()
		return log.String()[before:]
	}
	const warning, info = `level=WARN msg="a new local file is made, since the name is not that of a replica" file=`, `level=INFO msg="opened as a local file" file=`
	vfsName, _ := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log)})
	conn := openConn(t, vfsName, "app.db")
	if got := said(func() { mustExec(t, conn, "ATTACH 'ap.db' AS l; CREATE TABLE l.t (x); DETACH l") }); !strings.Contains(got, warning) || !strings.Contains(got, "replicas=[app.db]") {
		t.Errorf("a new file: %s", got)
	}
	if got := said(func() { mustExec(t, conn, "ATTACH 'ap.db' AS l; SELECT * FROM l.t; DETACH l") }); strings.Contains(got, "WARN") || !strings.Contains(got, info) {
		t.Errorf("a file that exists: %s", got)
	}
	if got := said(func() { _, _ = conn.ExecContext(t.Context(), "ATTACH 'file:none.db?mode=rw' AS l") }); strings.Contains(got, "WARN") {
		t.Errorf("no file is made: %s", got)
	}

	vfsName, _ = newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log), LocalFiles: litestream.ExistingLocalFiles})
	conn = openConn(t, vfsName, "app.db")
	mustExec(t, conn, "ATTACH 'ap.db' AS l; INSERT INTO l.t VALUES (1); DETACH l")
	got := said(func() { wantCode(t, conn, "ATTACH 'app2.db' AS l", litestream.CodeCantOpen) })
	if !strings.Contains(got, "app2.db: it has no replica, and new local files are not allowed") {
		t.Errorf("a new file where none is allowed: %s", got)
	}
	if names := fileNames(t, dir); names != "ap.db" {
		t.Errorf("the folder has %s", names)
	}
}

func TestLocalFiles_Text(t *testing.T) {
	for _, want := range []litestream.LocalFiles{litestream.AllLocalFiles, litestream.NoLocalFiles, litestream.ExistingLocalFiles} {
		var got litestream.LocalFiles = -1
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Errorf("%v: %v, %v", want, got, err)
		}
	}
	var l litestream.LocalFiles
	if err := l.UnmarshalText([]byte("some")); err == nil || !strings.Contains(err.Error(), `invalid value "some", want all, existing or none`) {
		t.Error(err)
	}
	if got := litestream.LocalFiles(7).String(); got != "LocalFiles(7)" {
		t.Error(got)
	}
}
