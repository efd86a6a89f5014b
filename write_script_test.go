package litestream_test

import (
	"cmp"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

var (
	scripts    = flag.Int("scripts", 0, "random scripts that TestWrite_Scripts runs; 0: 1,000, or 125 with the race detector or -short")
	scriptSeed = flag.Uint64("script", 0, "the only script that TestWrite_Scripts runs, and shows; 0: all")
)

// TestWrite_Scripts runs random SQL on plain SQLite and on databases in write
// mode. Both must have the same content on every connection, after a sync,
// after a reopen, and in a restore of the replica.
func TestWrite_Scripts(t *testing.T) {
	if *scriptSeed != 0 {
		runScript(t, *scriptSeed)
		return
	}
	n := cmp.Or(*scripts, testscale.Repeats(1000))
	const workers = 4
	for w := range workers {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			t.Parallel()
			// All seeds of a worker use one slot, as there are too few for one
			// each.
			for seed := uint64(w + 1); seed <= uint64(n) && !t.Failed(); seed += workers {
				ok := t.Run(fmt.Sprint(seed), func(t *testing.T) { runScript(t, seed) })
				if !ok {
					t.Logf("go test -run TestWrite_Scripts -script %d", seed)
				}
			}
		})
	}
}

// script is a random script in progress.
type script struct {
	t    *testing.T
	rng  *rand.Rand
	show bool

	plain  *sql.Conn
	client *memory.ReplicaClient
	opts   litestream.Options
	slot   string
	log    testlog.Buffer // errors
	vfs    *litestream.VFS
	db     *sql.DB
	conns  []*sql.Conn
	setup  []string // PRAGMAs of new connections, by connection

	conn      int    // connection that has the open transaction or the exclusive lock
	inTx      bool   // a BEGIN is open
	exclusive bool   // locking_mode is EXCLUSIVE
	savepoint int    // depth
	committed string // dump after the last commit
	tables    int
	next      int // next value to insert
}

func runScript(t *testing.T, seed uint64) {
	s := &script{t: t, rng: rand.New(rand.NewPCG(seed, 7)), show: *scriptSeed != 0, client: memory.NewReplicaClient()}
	dir := t.TempDir()
	db, err := sqlitetest.Open(filepath.Join(dir, "plain.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if s.plain, err = db.Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.plain.Close()
	s.opts = litestream.Options{
		WriteEnabled: true, WriteSyncInterval: -1, PollInterval: -1,
		HydrationEnabled: s.rng.IntN(3) == 0, CacheSize: []int64{-1, 16 << 10, 10 << 20}[s.rng.IntN(3)],
		Logger: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	unreadIndexes(&s.opts, seed)
	if s.show {
		s.opts.Logger = testlog.New(t, nil)
	}
	if s.rng.IntN(2) == 0 {
		s.opts.WriteBufferPath = filepath.Join(dir, "buffer")
	}
	if s.opts.HydrationEnabled && s.rng.IntN(2) == 0 {
		s.opts.HydrationPath = filepath.Join(dir, "hydrated")
	}
	s.setup = make([]string, 1+s.rng.IntN(8)*s.rng.IntN(2))
	for i := range s.setup {
		s.setup[i] = fmt.Sprintf("PRAGMA journal_mode=%s; PRAGMA synchronous=%s; PRAGMA cache_size=%d",
			pick(s.rng, "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"), pick(s.rng, "OFF", "NORMAL", "FULL", "EXTRA"), pick(s.rng, 5, 20, 2000))
	}
	s.openAll()
	defer func() { s.closeAll() }()
	pageSize, vacuum := 512<<s.rng.IntN(8), pick(s.rng, "NONE", "NONE", "FULL", "INCREMENTAL")
	s.both(fmt.Sprintf("PRAGMA page_size=%d; PRAGMA auto_vacuum=%s", pageSize, vacuum))
	s.both("CREATE TABLE t0 (id INTEGER PRIMARY KEY, a, b UNIQUE)")
	s.tables = 1
	s.ends()
	for range 10 + s.rng.IntN(30) {
		s.step()
		if t.Failed() {
			return
		}
	}
	if s.inTx {
		s.end(s.rng.IntN(2) == 0)
	}
	s.leaveExclusive()
	s.check()
	s.sync()
	s.check()
	s.closeAll()
	s.openAll()
	s.check()
	s.checkRestored(dir)
	if log := s.log.String(); strings.Contains(log, "panic") || strings.Contains(log, "hydration") {
		s.t.Errorf("log:\n%s", log)
	}
}

func pick[T any](rng *rand.Rand, all ...T) T { return all[rng.IntN(len(all))] }

func (s *script) openAll() {
	if s.slot == "" {
		s.slot = reuseSlot(s.t)
	}
	s.vfs = litestream.NewVFS(s.client, &s.opts)
	setSlot(s.slot, s.vfs)
	var err error
	if s.db, err = vfstest.Open(dsn(s.slot, "app.db")); err != nil {
		s.t.Fatal(err)
	}
	s.conns = nil
	for _, setup := range s.setup {
		c, err := s.db.Conn(context.Background())
		if err != nil {
			s.t.Fatal(err)
		}
		s.conns = append(s.conns, c)
		mustExec(s.t, c, setup)
	}
}

func (s *script) closeAll() {
	for _, c := range s.conns {
		_ = c.Close()
	}
	_ = s.db.Close()
	if err := s.vfs.Close(context.Background()); err != nil {
		s.t.Errorf("close vfs: %v", err)
	}
}

// both runs a statement on both databases. It must succeed on both or fail on
// both.
func (s *script) both(query string, args ...any) bool {
	s.t.Helper()
	if s.show {
		s.t.Logf("%d: %.300s %.100v", s.conn, query, args)
	}
	_, want := s.plain.ExecContext(context.Background(), query, args...)
	_, got := s.conns[s.conn].ExecContext(context.Background(), query, args...)
	if (want == nil) != (got == nil) {
		s.t.Errorf("%.300s: %v, and %v with plain SQLite", query, got, want)
	}
	return got == nil
}

// free is called where another connection may run the next statement.
func (s *script) free() {
	if !s.inTx && !s.exclusive {
		s.conn = s.rng.IntN(len(s.conns))
	}
}

// ends is called after a statement that may have committed.
func (s *script) ends() {
	if s.inTx {
		return
	}
	s.committed = dump(s.t, s.plain)
	if s.exclusive && s.rng.IntN(2) == 0 {
		s.leaveExclusive()
	}
}

func (s *script) leaveExclusive() {
	if !s.exclusive {
		return
	}
	c := s.conns[s.conn]
	mustExec(s.t, c, "PRAGMA locking_mode=NORMAL")
	mustQuery(s.t, c, "SELECT count(*) FROM sqlite_master")
	s.exclusive = false
}

func (s *script) step() {
	s.free()
	table := fmt.Sprintf("t%d", s.rng.IntN(s.tables))
	s.next++
	n := s.next * 1000
	switch k := s.rng.IntN(30); {
	case k < 6:
		rows := 1 + s.rng.IntN(1+s.rng.IntN(300))
		s.both(fmt.Sprintf(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d)
			INSERT INTO %s (a, b) SELECT printf('%%.*c', i * 7919 %% %d, 'x'), %d + i FROM c`, rows, table, 1+s.rng.IntN(400), n))
		s.ends()
	case k < 8:
		s.both(fmt.Sprintf("INSERT INTO %s (a, b) VALUES (?, %d)", table, n), blob(s.rng, s.rng.IntN(200_000)))
		s.ends()
	case k < 11:
		s.both(fmt.Sprintf("UPDATE %s SET a = a || %d WHERE id %% %d = %d", table, n, 1+s.rng.IntN(10), s.rng.IntN(5)))
		s.ends()
	case k < 14:
		s.both(fmt.Sprintf("DELETE FROM %s WHERE id %% %d = %d", table, 1+s.rng.IntN(5), s.rng.IntN(2)))
		s.ends()
	case k < 15: // the statement fails half way
		if s.isOff() {
			return // without a journal, a statement is not undone either
		}
		s.both(fmt.Sprintf("INSERT INTO %s (a, b) SELECT a, b + %d - (id %% 7 = 6) * %d FROM %s", table, n*1000, n*1000, table))
		s.ends()
	case k < 16:
		s.both(fmt.Sprintf("CREATE TABLE t%d (id INTEGER PRIMARY KEY, a, b UNIQUE); CREATE INDEX i%d ON t%d (a)", s.tables, s.tables, s.tables))
		s.tables++
		s.ends()
	case k < 17:
		s.both(fmt.Sprintf("DROP TABLE %s; CREATE TABLE %s (id INTEGER PRIMARY KEY, a, b UNIQUE)", table, table))
		s.ends()
	case k < 20:
		if s.inTx {
			s.end(s.rng.IntN(3) > 0)
			return
		}
		s.inTx = s.both(pick(s.rng, "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"))
	case k < 22:
		s.save()
	case k < 23:
		s.both(pick(s.rng, "PRAGMA incremental_vacuum(3)", "PRAGMA incremental_vacuum"))
		s.ends()
	case k < 24:
		if !s.inTx {
			s.both("VACUUM")
			s.ends()
		}
	case k < 25:
		if !s.inTx {
			synchronous := pick(s.rng, "OFF", "NORMAL", "FULL")
			if s.exclusive { // otherwise nothing would reveal where transactions end
				synchronous = "NORMAL"
			}
			mustExec(s.t, s.conns[s.conn], "PRAGMA synchronous="+synchronous)
			mustExec(s.t, s.conns[s.conn], "PRAGMA journal_mode="+pick(s.rng, "DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"))
		}
	case k < 26:
		s.goExclusive()
	case k < 28:
		s.check()
	case k < 29:
		s.sync()
	default:
		if !s.inTx {
			s.leaveExclusive()
			s.closeAll()
			s.openAll()
		}
	}
}

// goExclusive makes a connection keep its lock from its next transaction on.
func (s *script) goExclusive() {
	if s.inTx || s.exclusive {
		return
	}
	c := s.conns[s.conn]
	mode := mustQuery(s.t, c, "PRAGMA journal_mode")
	if sync := mustQuery(s.t, c, "PRAGMA synchronous"); sync == "0" && (mode == "memory" || mode == "off") {
		return // nothing reveals where its transactions end
	}
	mustExec(s.t, c, "PRAGMA locking_mode=EXCLUSIVE")
	s.exclusive = true
}

func (s *script) save() {
	if !s.inTx {
		return
	}
	switch k := s.rng.IntN(3); {
	case k == 0 || s.savepoint == 0:
		s.savepoint++
		s.both(fmt.Sprintf("SAVEPOINT s%d", s.savepoint))
	case k == 1:
		s.both(fmt.Sprintf("RELEASE s%d", s.savepoint))
		s.savepoint--
	default:
		if s.isOff() {
			return // there is no savepoint to return to
		}
		s.both(fmt.Sprintf("ROLLBACK TO s%d", s.savepoint))
	}
}

// end ends a transaction.
func (s *script) end(commit bool) {
	if commit || s.isOff() { // without a journal a rollback is not possible
		s.both("COMMIT")
	} else {
		s.both("ROLLBACK")
	}
	s.inTx, s.savepoint = false, 0
	s.ends()
}

// isOff reports whether there is no journal.
func (s *script) isOff() bool {
	return mustQuery(s.t, s.conns[s.conn], "PRAGMA journal_mode") == "off"
}

func (s *script) sync() {
	if s.show {
		s.t.Log("sync")
	}
	if err := s.vfs.Sync(context.Background(), "app.db"); err != nil {
		s.t.Errorf("sync: %v", err)
	}
}

// check compares what the connections see.
func (s *script) check() {
	s.t.Helper()
	for i, c := range s.conns {
		want := s.committed
		if i == s.conn {
			want = dump(s.t, s.plain)
		}
		if got := dump(s.t, c); got != want {
			s.t.Fatalf("connection %d (of %d; %v; exclusive %v, hydration %v) sees %.300q, want %.300q", i, s.conn, s.setup, s.exclusive, s.opts.HydrationEnabled, got, want)
		}
		if ok := mustQuery(s.t, c, "PRAGMA integrity_check"); ok != "ok" {
			s.t.Errorf("connection %d (of %d): %s", i, s.conn, ok)
		}
	}
}

// checkRestored compares the content of a restore of the replica.
func (s *script) checkRestored(dir string) {
	path := filepath.Join(dir, "restored.db")
	restore(s.t, s.client, path)
	db, err := sqlitetest.Open(path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if got, want := dump(s.t, db), dump(s.t, s.plain); got != want {
		s.t.Errorf("restored: %.300q, want %.300q", got, want)
	}
	if ok := mustQuery(s.t, db, "PRAGMA integrity_check"); ok != "ok" {
		s.t.Errorf("restored: %s", ok)
	}
}

// dump returns everything that is in a database.
func dump(t testing.TB, q querier) string {
	t.Helper()
	all := mustQuery(t, q, "SELECT name, sql FROM sqlite_master ORDER BY name")
	for _, table := range strings.Split(mustQuery(t, q, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"), "\n") {
		if table != "" {
			all += "\n" + table + mustQuery(t, q, fmt.Sprintf("SELECT count(*), total(b), total(length(a)), group_concat(hex(substr(a, -9)), ' ') FROM (SELECT * FROM %s ORDER BY id)", table))
		}
	}
	return all
}

// restore makes a database file from a replica as Litestream does: it compacts
// all files of level 0 and decodes the result.
func restore(t testing.TB, client litestream.ReplicaClient, path string) {
	t.Helper()
	itr, err := client.LTXFiles(context.Background(), 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	files, err := ltx.SliceFileIterator(itr)
	if err != nil {
		t.Fatal(err)
	}
	readers := make([]io.Reader, len(files))
	for i, f := range files {
		r, err := client.OpenLTXFile(context.Background(), 0, f.MinTXID, f.MaxTXID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers[i] = r
	}
	pr, pw := io.Pipe()
	compactor, err := ltx.NewCompactor(pw, readers)
	if err != nil {
		t.Fatal(err)
	}
	compactor.HeaderFlags = ltx.HeaderFlagNoChecksum
	go func() { _ = pw.CloseWithError(compactor.Compact(context.Background())) }()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := ltx.NewDecoder(pr).DecodeDatabaseTo(f); err != nil {
		t.Fatal(err)
	}
}

func blob(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32() >> 8)
	}
	return b
}
