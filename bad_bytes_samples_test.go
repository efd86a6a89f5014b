package litestream_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/badbytes"
	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// badSample is an intact replica that damage is done to, and what plain SQLite says
// of each of its states.
type badSample struct {
	name    string
	replica badbytes.Replica
	images  map[ltx.TXID][]byte
	txids   []ltx.TXID
	queries []string
	answers map[ltx.TXID][]string // of each query, as badAnswer gives them
	tables  []string
}

// badRows is the most rows that a query of a damaged database returns. A table that
// leads in circles has rows without end.
const badRows = 300

// badSamples returns replicas that a primary makes here, and small ones of a real
// Litestream.
func badSamples(t testing.TB) (samples []*badSample) {
	t.Helper()
	for _, opts := range []ltxtest.Options{
		{PageSize: 512},
		{PageSize: 1024, FrameFormat: true, AutoVacuum: "full"},
		{PageSize: 4096, AutoVacuum: "incremental"},
	} {
		store := memoryClient()
		badHistory(ltxtest.New(t, store, opts))
		r, err := badbytes.Read(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, newBadSample(t, fmt.Sprintf("made-%d", opts.PageSize), r))
	}
	for _, name := range []string{"pagesize-512", "pagesize-1024", "pagesize-8192", "old-frames", "overlap", "overlap-from-one", "compacted", "snapshot-only", "broken/base"} {
		r, err := badbytes.ReadDir(filepath.Join(ownReplicas, name))
		if err != nil {
			t.Fatal(err)
		}
		samples = append(samples, newBadSample(t, name, r))
	}
	return samples
}

// badHistory makes transactions of all kinds: rows with overflow pages, tables
// without rowids, a full-text index, deep trees, a shrunk database, merged files and
// a snapshot.
func badHistory(p *ltxtest.Primary) {
	rng := rand.New(rand.NewPCG(5, 5))
	text := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			fmt.Fprintf(&b, "w%d ", rng.IntN(300))
		}
		return b.String()
	}
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, k INTEGER, v TEXT); CREATE INDEX t_k ON t (k)")
	p.Exec("CREATE TABLE w (a TEXT, b INTEGER, c, PRIMARY KEY (a, b)) WITHOUT ROWID; CREATE VIRTUAL TABLE f USING " + fullText + " (body)")
	for i := range 10 {
		p.Exec(`INSERT INTO t (k, v) WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i < 30)
			SELECT (i * 7919 + ?) % 500, substr(?, 1 + i, 40 + i * 3) FROM n; INSERT INTO t (k, v) VALUES (?, ?)`, i, text(300), i, text(3*p.PageSize()))
		p.Exec("INSERT OR IGNORE INTO w SELECT substr(v, 1, 12), id, k FROM t WHERE id % 3 = ?; INSERT INTO f VALUES (?)", i%3, text(200))
		if i == 6 {
			p.Exec("DELETE FROM t WHERE id % 2 = 0")
			p.Exec("INSERT INTO f (f) VALUES ('optimize')")
			p.Exec("VACUUM")
			p.Compact(1, 1, p.TXID()-4)
			p.Snapshot()
			p.Compact(1, p.TXID()-3, p.TXID())
		}
	}
	p.Compact(1, p.TXID()-5, p.TXID()-2)
	p.Compact(2, 1, p.TXID()-6)
	p.DeleteLevelBelow(0, 9)
}

func newBadSample(t testing.TB, name string, r badbytes.Replica) *badSample {
	t.Helper()
	s := &badSample{name: name, replica: r, answers: map[ltx.TXID][]string{}}
	var err error
	if s.images, err = r.Images(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	s.txids = slices.Sorted(maps.Keys(s.images))
	if len(s.txids) == 0 {
		t.Fatalf("%s has no states", name)
	}
	for _, txid := range slices.Backward(s.txids) { // the newest first, for its tables
		path := filepath.Join(t.TempDir(), "plain.db")
		image := slices.Clone(s.images[txid])
		image[dbheader.OffWriteVersion], image[dbheader.OffReadVersion] = 1, 1
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := sqlitetest.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if s.queries == nil {
			s.tables = strings.Split(mustQuery(t, db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'f%' ORDER BY name LIMIT 4"), "\n")
			s.queries = badQueries(s.tables, strings.HasPrefix(name, "made"))
		}
		for _, q := range s.queries {
			s.answers[txid] = append(s.answers[txid], badAnswer(queryText(db, q)))
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// badQueries are scans, searches and joins.
func badQueries(tables []string, made bool) []string {
	queries := []string{"SELECT type, name, tbl_name, sql FROM sqlite_schema"}
	for _, table := range tables {
		queries = append(queries, fmt.Sprintf(`SELECT * FROM "%s" LIMIT %d`, table, badRows))
	}
	if made {
		queries = append(queries,
			"SELECT id, k FROM t WHERE k IN (3, 77, 210, 499) ORDER BY k, id LIMIT 50",
			"SELECT w.a, t.v FROM (SELECT * FROM w LIMIT 40) w JOIN t ON t.id = w.b LIMIT 50",
			"SELECT t.id, u.id FROM (SELECT * FROM t LIMIT 20) t JOIN t u ON u.k = t.k LIMIT 100",
			"SELECT rowid, body FROM f WHERE f MATCH 'w12 OR w77' LIMIT 50",
			"SELECT v FROM t ORDER BY id DESC LIMIT 20",
		)
	}
	return queries
}

// badAnswer is the answer to a query in short. An error is an answer only if plain
// SQLite gives it: the table does not exist yet.
func badAnswer(text string, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}
