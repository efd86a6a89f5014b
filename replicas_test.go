package litestream_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
)

// These replicas were written by a real Litestream primary. Some are in
// testdata; more and larger ones are in a folder beside the project, if it
// exists.
const (
	ownReplicas    = "testdata/replicas"
	sharedReplicas = "../shared/replicas"
)

type manifest struct {
	Name             string
	PageSize         int      `json:"page_size"`
	TXID             string   `json:"txid"`
	LatestError      string   `json:"latest_error"`
	UnavailableTXIDs []string `json:"unavailable_txids"`
	Files            []struct {
		Path        string
		Timestamp   time.Time
		TimestampMS int64 `json:"timestamp_ms"`
	}
	Points []manifestPoint
	Times  []struct {
		TimeMS        int64 `json:"time_ms"`
		What          string
		UpstreamError string `json:"upstream_error"`
		AtOrBefore    string `json:"at_or_before_txid"`
	}

	// Fault is set for broken replicas only.
	Fault struct {
		File         string
		FileChecksum string `json:"file_checksum"`
		Text         string
	}
	IntactTXIDs   []string `json:"intact_txids"`
	AffectedTXIDs []string `json:"affected_txids"`
}

type manifestPoint struct {
	TXID           string
	Commit         int64
	IntegrityCheck string `json:"integrity_check"`
	FileSHA256     string `json:"file_sha256"`
	Tables         map[string]struct {
		Rows   int
		SHA256 string
	}
}

func readManifest(t testing.TB, dir string) (m manifest) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// replicaDir returns the folder of a replica in testdata or in the shared
// folder.
func replicaDir(t testing.TB, name string) string {
	t.Helper()
	for _, root := range []string{ownReplicas, sharedReplicas} {
		if dir := filepath.Join(root, name); exists(filepath.Join(dir, "manifest.json")) {
			return dir
		}
	}
	t.Skipf("%s is neither in %s nor in %s: it is too large for the repository, and tests on generated data cover what it does", name, ownReplicas, sharedReplicas)
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// copyReplica copies a replica to a folder of the test and overwrites what is
// there. File times are those of the manifest.
func copyReplica(t testing.TB, to string, dirs ...string) string {
	t.Helper()
	for _, dir := range dirs {
		if exists(filepath.Join(dir, "ltx")) {
			if err := filepath.WalkDir(filepath.Join(dir, "ltx"), func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				rel, err := filepath.Rel(dir, path)
				if err != nil {
					return err
				}
				b, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				target := filepath.Join(to, rel)
				if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
					return err
				}
				return os.WriteFile(target, b, 0o644)
			}); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range readManifest(t, dir).Files {
			at := f.Timestamp
			if f.TimestampMS != 0 {
				at = time.UnixMilli(f.TimestampMS)
			}
			if err := os.Chtimes(filepath.Join(to, f.Path), at, at); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	}
	return to
}

// loseFileTimes gives every file of a replica the same time, as a copy does.
func loseFileTimes(t testing.TB, dir string) {
	t.Helper()
	now := time.Now()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chtimes(path, now, now)
	}); err != nil {
		t.Fatal(err)
	}
}

var replicaNames = []string{
	"sandwiches", "pagesize-512", "pagesize-1024", "pagesize-8192", "pagesize-65536", "shrunk", "compacted",
	"overlap", "overlap-from-one", "blockmap", "old-frames", "snapshot-only",
}

// TestReplicas_AnswerAsManifest reads every state that the manifests list by
// TXID, and compares rows, size and the whole database file.
func TestReplicas_AnswerAsManifest(t *testing.T) {
	for _, name := range replicaNames {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := replicaDir(t, name)
			m := readManifest(t, source)
			dir := copyReplica(t, t.TempDir(), source)
			vfsName, _ := newVFS(t, file.NewReplicaClient(dir), nil)
			conn := openConn(t, vfsName, "app.db")

			if got := mustQuery(t, conn, "PRAGMA litestream_txid"); got != m.TXID {
				t.Errorf("latest is %s, want %s", got, m.TXID)
			}
			for _, p := range m.Points {
				if p.TXID == m.TXID {
					checkPoint(t, conn, vfsName, m, p)
				}
			}
			for i, p := range m.Points {
				if i%(len(m.Points)/testscale.Repeats(len(m.Points))) != 0 {
					continue
				}
				mustExec(t, conn, "PRAGMA litestream_txid = '"+p.TXID+"'")
				checkPoint(t, conn, vfsName, m, p)
			}
			for _, txid := range m.UnavailableTXIDs {
				before := mustQuery(t, conn, "PRAGMA litestream_txid")
				if _, err := queryText(conn, "PRAGMA litestream_txid = '"+txid+"'"); err == nil {
					t.Errorf("travel to %s, which is not available, works", txid)
				}
				if e := status(t, conn).LastError; e == nil || !strings.Contains(e.Text, "transaction not available") {
					t.Errorf("travel to %s: last error is %v", txid, e)
				}
				if got := mustQuery(t, conn, "PRAGMA litestream_txid"); got != before {
					t.Errorf("failed travel moved the view from %s to %s", before, got)
				}
			}
		})
	}
}

// checkPoint compares what a connection sees with a point of a manifest.
func checkPoint(t *testing.T, q querier, vfsName string, m manifest, p manifestPoint) {
	t.Helper()
	if got := mustQuery(t, q, "PRAGMA litestream_txid"); got != p.TXID {
		t.Errorf("view is %s, want %s", got, p.TXID)
	}
	if got := mustQuery(t, q, "PRAGMA page_count"); got != fmt.Sprint(p.Commit) {
		t.Errorf("%s: %s pages, want %d", p.TXID, got, p.Commit)
	}
	if got := mustQuery(t, q, "PRAGMA integrity_check"); got != p.IntegrityCheck {
		t.Errorf("%s: integrity check: %s", p.TXID, got)
	}
	for table, want := range p.Tables {
		rows, sum := hashTable(t, q, table)
		if rows != want.Rows || sum != want.SHA256 {
			t.Errorf("%s: table %s has %d rows, hash %s; want %d, %s", p.TXID, table, rows, sum, want.Rows, want.SHA256)
		}
	}
}

// hashTable counts and hashes the rows of a table as the manifests do.
func hashTable(t testing.TB, q querier, table string) (int, string) {
	t.Helper()
	columns := strings.Split(mustQuery(t, q, `SELECT 'quote("' || name || '")' FROM pragma_table_info('`+table+`')`), "\n")
	s := mustQuery(t, q, `SELECT `+strings.Join(columns, ` || '|' || `)+` FROM "`+table+`" ORDER BY rowid`)
	rows := 0
	if s != "" {
		s += "\n"
		rows = strings.Count(s, "\n")
	}
	sum := sha256.Sum256([]byte(s))
	return rows, hex.EncodeToString(sum[:])
}

// TestReplicas_ByTime travels to every time that the manifests list, both with
// and without the files' own times.
func TestReplicas_ByTime(t *testing.T) {
	for _, name := range replicaNames {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/lost=%v", name, lost), func(t *testing.T) {
				t.Parallel()
				source := replicaDir(t, name)
				m := readManifest(t, source)
				if len(m.Times) == 0 {
					t.Skip("the manifest lists no times")
				}
				dir := copyReplica(t, t.TempDir(), source)
				if lost {
					loseFileTimes(t, dir)
				}
				vfsName, _ := newVFS(t, file.NewReplicaClient(dir), nil)
				conn := openConn(t, vfsName, "app.db")
				points := make(map[string]manifestPoint)
				for _, p := range m.Points {
					points[p.TXID] = p
				}
				for _, at := range m.Times {
					when := time.UnixMilli(at.TimeMS).UTC().Format(time.RFC3339Nano)
					_, err := queryText(conn, "PRAGMA litestream_time = '"+when+"'")
					if at.AtOrBefore == "" {
						if err == nil {
							t.Errorf("%s (%s): no error, want %s", when, at.What, at.UpstreamError)
						}
						continue
					}
					if err != nil {
						t.Errorf("%s (%s): %v: %v", when, at.What, err, status(t, conn).LastError)
						continue
					}
					if got := mustQuery(t, conn, "PRAGMA litestream_txid"); got != at.AtOrBefore {
						t.Errorf("%s (%s): transaction %s, want %s", when, at.What, got, at.AtOrBefore)
						continue
					}
					checkPoint(t, conn, vfsName, m, points[at.AtOrBefore])
					if got := mustQuery(t, conn, "PRAGMA litestream_time"); got > time.UnixMilli(at.TimeMS).UTC().Format("2006-01-02T15:04:05.000Z") {
						t.Errorf("%s: time of the view is %s", when, got)
					}
				}
			})
		}
	}
}

func brokenCases(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(ownReplicas, "broken"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "base" {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestReplicas_Broken opens and reads replicas with one fault each. States that
// do not need the faulty file must equal those of the healthy replica. The
// others must be an error that names the file, never wrong rows.
func TestReplicas_Broken(t *testing.T) {
	baseDir := filepath.Join(ownReplicas, "broken", "base")
	base := readManifest(t, baseDir)
	for _, name := range brokenCases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caseDir := filepath.Join(ownReplicas, "broken", name)
			m := readManifest(t, caseDir)
			dir := copyReplica(t, t.TempDir(), baseDir, caseDir)
			fault := filepath.Join(dir, m.Fault.File)
			if name == "gap" {
				if err := os.Remove(fault); err != nil {
					t.Fatal(err)
				}
			}
			checkNamed := func(what, text string) {
				t.Helper()
				want := strings.TrimPrefix(m.Fault.File, "ltx/")
				if name == "gap" {
					want = "no file holds transaction 0000000000000008"
				}
				if !strings.Contains(text, want) {
					t.Errorf("%s: error does not say %q: %s", what, want, text)
				}
			}

			var log testlog.Buffer
			client := file.NewReplicaClient(dir)
			vfsName, _ := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log)})
			if err := openDB(t, vfsName, "app.db").Ping(); err == nil {
				t.Error("the latest state opens")
			} else if sqliteCode(t, err) != litestream.CodeCantOpen {
				t.Errorf("open: %v, want SQLITE_CANTOPEN", err)
			}
			checkNamed("open", log.String())
			if len(m.IntactTXIDs) == 0 {
				return
			}

			// Intact states are reached from a replica whose latest state is
			// intact, before the other files appear.
			hidden := make(map[string]string)
			for _, f := range base.Files {
				if txid := filepath.Base(f.Path)[17:33]; txid > m.IntactTXIDs[len(m.IntactTXIDs)-1] && exists(filepath.Join(dir, f.Path)) {
					hidden[filepath.Join(dir, f.Path)] = filepath.Join(dir, f.Path+".hidden")
				}
			}
			for from, to := range hidden {
				if err := os.Rename(from, to); err != nil {
					t.Fatal(err)
				}
			}
			vfsName, _ = newVFS(t, client, nil)
			conn := openConn(t, vfsName, "app.db")
			mustQuery(t, conn, "PRAGMA litestream_txid")
			for from, to := range hidden {
				if err := os.Rename(to, from); err != nil {
					t.Fatal(err)
				}
			}
			points := make(map[string]manifestPoint)
			for _, p := range base.Points {
				points[p.TXID] = p
			}
			for _, txid := range m.IntactTXIDs {
				mustExec(t, conn, "PRAGMA litestream_txid = '"+txid+"'")
				checkPoint(t, conn, vfsName, base, points[txid])
			}
			for _, txid := range m.AffectedTXIDs {
				if _, err := queryText(conn, "PRAGMA litestream_txid = '"+txid+"'"); err == nil {
					t.Errorf("travel to %s works", txid)
				} else if e := status(t, conn).LastError; name != "gap" {
					checkNamed("travel to "+txid, e.Text)
				}
			}
		})
	}
}

func TestReplicas_Empty(t *testing.T) {
	var log testlog.Buffer
	vfsName, _ := newVFS(t, file.NewReplicaClient(t.TempDir()), &litestream.Options{WaitForReplica: -1, Logger: testlog.New(t, &log)})
	if err := openDB(t, vfsName, "app.db").Ping(); err == nil || sqliteCode(t, err) != litestream.CodeCantOpen {
		t.Errorf("open: %v, want SQLITE_CANTOPEN", err)
	}
	if !strings.Contains(log.String(), litestream.ErrNoDatabase.Error()) {
		t.Errorf("the log does not say why: %s", log.String())
	}
}
