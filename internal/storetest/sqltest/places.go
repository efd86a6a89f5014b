package sqltest

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

// Root is a part of a store that only one test uses.
type Root struct {
	// Client returns a client of the replica at a path below the root, which may
	// be empty.
	Client func(path string) replica.Client

	// Put stores an object below the root.
	Put func(name string, body []byte)

	// ReadOnly says that the client cannot write.
	ReadOnly bool

	// Instead is what an error says instead, by the name of the case, where the
	// client itself finds that there is no replica.
	Instead map[string]string
}

// place is something that lies where a replica is looked for.
type place struct {
	name    string
	at      string   // the path that is opened
	objects []string // the names of what lies below the root
	body    string   // of the objects; empty: an LTX file
	want    string   // in the error
	free    bool     // a new database may begin there
	folders int      // folders that are looked into
}

// places returns the cases for a store with that LevelDir.
func places(levelDir string) []place {
	name := ltx.FormatFilename(1, 1)
	other := "0009/"
	if levelDir == other {
		other = "ltx/9/"
	}
	return []place{
		{name: "nothing", at: "a", objects: []string{"b/x", "aa"}, want: "nothing lies at ", free: true},
		{name: "unrelated files", at: "a", objects: []string{"a/x.txt", "a/logs/0/1", "a/y z"}, body: "x", want: `has no LTX files, but logs/, x.txt, "y z"`, free: true, folders: 1},
		{name: "an unfinished upload", at: "a", objects: []string{"a/" + levelDir + ".x.tmp"}, want: "has no LTX files, but ", free: true},
		{name: "other layout", at: "a", objects: []string{"a/" + other + name}, want: "has a replica in the layout of another kind of store, with the folder " + other + " instead of folders like " + levelDir, folders: 1},
		{name: "version 0.3", at: "a", objects: []string{"a/generations/16f8a7a3a5b7c9d1/snapshots/00000000.snapshot.lz4"}, body: "x", want: "has a replica of Litestream v0.3", folders: 1},
		{name: "parent", at: "a", objects: []string{"a/1.db/" + levelDir + name, "a/2.db/" + levelDir + name, "a/x/y"}, want: "is the parent of replicas: open one of 1.db/, 2.db/", folders: 3},
		{name: "parent of one", at: "a", objects: []string{"a/1.db/" + other + name}, want: "a/1.db", folders: 1},
		{name: "root", at: "", objects: []string{"1.db/" + levelDir + name, "2.db/generations/16f8a7a3a5b7c9d1/wal/1"}, want: "is the parent of replicas: open one of 1.db/, 2.db/", folders: 2},
		{name: "folder ltx", at: "a/ltx", objects: []string{"a/ltx/0/" + name, "a/ltx/9/" + name}, want: " is the folder ltx of a replica: open ", folders: 2},
		{name: "level folder", at: "a/" + strings.TrimSuffix(levelDir, "/"), objects: []string{"a/" + levelDir + name}, want: "is the folder of one level of a replica: open "},
		{name: "sqlite database", at: "app.db", objects: []string{"app.db", "app.db-journal"}, body: "SQLite format 3\x00\x10\x00\x01\x01\x00", want: " is a SQLite database and not a replica"},
	}
}

// RunPlaces opens databases at places without LTX files. The error says what lies
// there, after a survey of the place and one of each folder. Write mode begins a
// new database only where nothing lies, or files that have nothing to do with
// replicas. newRoot returns an empty part of the store.
func RunPlaces(t *testing.T, newRoot func(t testing.TB) Root) {
	for _, p := range places(levelDirOf(t, newRoot(t))) {
		t.Run(p.name, func(t *testing.T) {
			root := newRoot(t)
			body := []byte(p.body)
			if p.body == "" {
				var err error
				if body, err = (replicatest.FileSpec{MinTXID: 1, MaxTXID: 1}).Encode(); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range p.objects {
				root.Put(name, body)
			}
			p.open(t, root, false)
			if !root.ReadOnly {
				p.open(t, root, true)
			}
		})
	}
}

// open opens the place with or without write mode.
func (p place) open(t *testing.T, root Root, write bool) {
	t.Helper()
	client := root.Client(p.at)
	trace := decorate.NewTrace(client)
	const limit = time.Minute
	vfs := litestream.NewVFS(trace, &litestream.Options{
		OpenTimeout: limit, WaitForReplica: -1, WriteEnabled: write, WriteBufferPath: filepath.Join(t.TempDir(), "buffer"), Logger: testlog.New(t, nil),
	})
	defer func() {
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	start := time.Now()
	conn, err := vfs.OpenConn("app.db", nil, litestream.OpenMode{Create: true})
	if d := time.Since(start); d > limit/2 {
		t.Errorf("write mode %v: took %s", write, d)
	}
	if err == nil {
		defer func() {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	if want := root.Instead[p.name]; want != "" {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got error\n%v, want one sentence with\n%s", err, want)
		}
		return
	}
	calls := map[decorate.Op]int{}
	for _, e := range trace.Events() {
		calls[e.Op]++
	}
	want := map[decorate.Op]int{decorate.OpSurvey: 1 + p.folders}
	if _, ok := client.(replica.AllLTXFilesLister); ok {
		want[decorate.OpListAll] = 1
	} else {
		want[decorate.OpList] = replica.SnapshotLevel + 1
	}
	if write && p.free {
		want[decorate.OpList] += replica.SnapshotLevel + 1 // write mode looks twice
		want[decorate.OpRead] = 1
	}
	delete(calls, decorate.OpInit)
	if !maps.Equal(calls, want) {
		t.Errorf("write mode %v: calls %v, want %v", write, calls, want)
	}
	if write && p.free {
		if err != nil {
			t.Errorf("write mode: %v", err)
		}
		return
	}
	identity := client.(replica.Identifier).ReplicaIdentity()
	switch {
	case !errors.Is(err, litestream.ErrNoDatabase):
		t.Errorf("write mode %v: got error %v, want ErrNoDatabase", write, err)
	case !strings.Contains(err.Error(), p.want) || !strings.Contains(err.Error(), identity) || strings.Contains(err.Error(), "\n"):
		t.Errorf("write mode %v: got error\n%v, want one sentence with\n%s and\n%s", write, err, identity, p.want)
	}
}

// levelDirOf returns the LevelDir of a store.
func levelDirOf(t *testing.T, root Root) string {
	t.Helper()
	s, err := root.Client("").(replica.Surveyor).Survey(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return s.LevelDir
}
