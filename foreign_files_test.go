package litestream_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

// foreignKinds are files and folders of others that may exist at a path given
// by a name or an option. The library must not touch them.
var foreignKinds = map[string]func(path string) error{
	"a database": func(path string) error {
		return os.WriteFile(path, []byte("SQLite format 3\x00"+strings.Repeat("rows of an application ", 300)), 0o644)
	},
	"a short file":  func(path string) error { return os.WriteFile(path, []byte("x"), 0o644) },
	"a folder":      func(path string) error { return os.Mkdir(path, 0o755) },
	"a link":        func(path string) error { return os.Symlink("target", path) },
	"a broken link": func(path string) error { return os.Symlink("nothing", path) },
	"a named pipe":  mkfifo,
}

// describeDir describes the files in a folder with their content and times.
func describeDir(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s %s %d", e.Name(), info.Mode(), info.ModTime(), info.Size())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %q", content)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestAttach_ForeignFiles uses SQL alone to name files of others as a write
// buffer and as a hydration file. Nothing is deleted, overwritten or moved.
func TestAttach_ForeignFiles(t *testing.T) {
	replica := t.TempDir()
	writeReplica(t, file.NewReplicaClient(replica), "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	for _, tt := range []struct {
		param   string
		suffix  string // suffix of the path at which the file of others is
		refused string // the part that is refused; empty: ATTACH
	}{
		{"write_enabled=true&buffer_path", "", ""},
		{"write_enabled=true&buffer_path", "-00000001", ""},
		{"hydration_enabled=true&hydration_path", "", "hydration"},
		{"hydration_enabled=true&hydration_path", "-hydration", "hydration"},
		{"hydration_enabled=true&hydration_path", "-hydration.tmp", "hydration"},
	} {
		for kind, make := range foreignKinds {
			t.Run(strings.TrimSuffix(tt.param[strings.LastIndexAny(tt.param, "&")+1:], "_path")+tt.suffix+" "+kind, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "file")
				if err := os.WriteFile(filepath.Join(dir, "target"), []byte("target"), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := make(path + tt.suffix); err != nil {
					t.Skip(err)
				}
				before := describeDir(t, dir)
				var log testlog.Buffer
				vfsName, vfs := newVFSOnly(t, nil, &litestream.Options{Logger: testlog.New(t, &log)})
				db, err := vfstest.Open(":memory:")
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				db.SetMaxOpenConns(1)
				_, err = db.Exec("ATTACH ? AS y", fmt.Sprintf("file:y.db?vfs=%s&mode=rwc&replica_url=file://%s&%s=%s", vfsName, replica, tt.param, path))
				if tt.refused == "" && err == nil {
					t.Error("ATTACH succeeds")
				}
				if tt.refused != "" {
					if err != nil {
						t.Fatal(err)
					}
					waitFor(t, "hydration to fail", func() bool {
						return mustQuery(t, db, "PRAGMA y.litestream_hydration_status") == "failed"
					})
					wantSQL(t, db, "SELECT v FROM y.t", "1")
				}
				_ = db.Close()
				if err := vfs.Close(t.Context()); err != nil {
					t.Error(err)
				}
				after := describeDir(t, dir)
				if tt.suffix == "-hydration.tmp" {
					// The hydration file is our own and was created.
					after = withoutLine(after, "file ")
				}
				if after != before {
					t.Errorf("files were touched:\n%s\nbefore:\n%s", after, before)
				}
				if !strings.Contains(log.String(), "not a file of this library") || !strings.Contains(log.String(), path+tt.suffix) {
					t.Error("the log does not say why")
				}
			})
		}
	}
}

func withoutLine(s, prefix string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, prefix) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestHydration_NoRecord opens a hydration file without a record, or with an
// invalid one. The file may belong to another program.
func TestHydration_NoRecord(t *testing.T) {
	client := memoryClient()
	writeReplica(t, client, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	for name, damage := range map[string]func(path string) error{
		"no record":                func(path string) error { return os.Remove(path) },
		"empty record":             func(path string) error { return os.Truncate(path, 0) },
		"record of something else": func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("x", 1000)), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "local.db")
			hydrate := func(status string) {
				t.Helper()
				vfsName, vfs := newVFSOnly(t, client, &litestream.Options{HydrationEnabled: true, HydrationPath: path, PollInterval: -1, Logger: testlog.New(t, nil)})
				db := openDB(t, vfsName, "app.db")
				waitFor(t, "hydration to be "+status, func() bool { return mustQuery(t, db, "PRAGMA litestream_hydration_status") == status })
				wantSQL(t, db, "SELECT v FROM t", "1")
				_ = db.Close()
				if err := vfs.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			hydrate("complete")
			if err := damage(path + "-hydration"); err != nil {
				t.Fatal(err)
			}
			before := describeDir(t, dir)
			hydrate("failed")
			if after := describeDir(t, dir); after != before {
				t.Errorf("files were touched:\n%s\nbefore:\n%s", after, before)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if name != "record of something else" {
				hydrate("complete")
			}
		})
	}
}

// TestWrite_EmptyBufferFile passes empty files, such as mktemp makes, as the
// path of a write buffer. They are accepted, and left empty.
func TestWrite_EmptyBufferFile(t *testing.T) {
	client := memoryClient()
	path := filepath.Join(t.TempDir(), "buffer")
	for _, name := range []string{path, path + "-00000001"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vfsName, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openDB(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v)")
	if names := readSegments(t, path); len(names) != 2 || names["-00000002"] == nil {
		t.Errorf("segments are %d, want an empty one and a second one", len(names))
	}
	_ = db.Close()
	if err := vfs.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, name := range []string{path, path + "-00000001"} {
		if info, err := os.Stat(name); err != nil || info.Size() != 0 {
			t.Errorf("%s: %v, %v, want an empty file", name, info, err)
		}
	}
	if names := readSegments(t, path); len(names) != 1 {
		t.Errorf("%d segments are left", len(names)-1)
	}
}

// TestWrite_BufferFileReplaced puts another file at the path of an open buffer.
// That file stays.
func TestWrite_BufferFileReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "buffer")
	vfsName, vfs := newVFSOnly(t, memoryClient(), writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v)")
	for _, name := range []string{path, path + "-00000001"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("another's"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := describeDir(t, dir)
	mustSyncConn(t, db)
	_ = db.Close()
	_ = vfs.Close(t.Context())
	if after := describeDir(t, dir); after != before {
		t.Errorf("files were touched:\n%s\nbefore:\n%s", after, before)
	}
}
