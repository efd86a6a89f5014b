package sqlsuite

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
)

// scriptSeeds is the number of random scripts.
const scriptSeeds = 12

// scriptCases are random statements on a replica with some connections, and the
// same on a plain file.
func scriptCases() (cases []testCase) {
	for seed := range uint64(scriptSeeds) {
		cases = append(cases, testCase{name: fmt.Sprintf("seed %d", seed), near: seed >= scriptSeeds/4, run: func(e *env) { e.runScript(seed) }})
	}
	return cases
}

// script is a random script in progress.
type script struct {
	e   *env
	rng *rand.Rand
	in  *instance
	r   replica

	params []string // of the URI
	setup  []string // PRAGMAs of each connection
	off    []bool   // connections without a journal
	conns  []*conn
	plain  *conn

	at         int // index of the connection that runs the statements
	inTx       bool
	exclusive  bool // the connection keeps its lock
	savepoints int
	committed  string // dump of the last committed state
	tables     int
	next       int // next value of a unique column
	log        []string
}

func pick[T any](rng *rand.Rand, all ...T) T { return all[rng.IntN(len(all))] }

func (e *env) runScript(seed uint64) {
	s := &script{e: e, rng: rand.New(rand.NewPCG(seed, 15)), in: e.start(), r: e.replica()}
	e.Cleanup(func() {
		if e.Failed() {
			e.Logf("the script:\n%s", strings.Join(s.log, "\n"))
		}
	})
	s.params = append(s.params, "cache_size="+pick(s.rng, "-1", "16KiB", "10MiB"))
	if s.rng.IntN(2) == 0 {
		s.params = append(s.params, parameter("buffer_path", filepath.Join(e.TempDir(), "buffer")))
	}
	for range 1 + s.rng.IntN(3) {
		journal := pick(s.rng, "delete", "truncate", "persist", "memory", "off")
		s.off = append(s.off, journal == "off")
		s.setup = append(s.setup, fmt.Sprintf("PRAGMA journal_mode = %s; PRAGMA synchronous = %s; PRAGMA cache_size = %d",
			journal, pick(s.rng, "off", "normal", "full"), pick(s.rng, 5, 20, 2000)))
	}
	s.plain = s.in.plain()
	s.open()
	s.both(fmt.Sprintf("PRAGMA page_size = %d", 512<<s.rng.IntN(8)))
	s.both("PRAGMA auto_vacuum = " + pick(s.rng, "none", "none", "full", "incremental"))
	s.both("CREATE TABLE t0 (id INTEGER PRIMARY KEY, a, b UNIQUE)")
	s.tables = 1
	s.ended()
	for range 25 {
		s.step()
		if e.Failed() {
			return
		}
	}
	s.end(true)
	s.check()
	s.conns[0].sync()
	s.check()
	s.close()
	fresh := e.start().reader(s.r)
	if got := fresh.dump(); got != s.committed {
		e.Errorf("a new process reads %.500q, want %.500q", got, s.committed)
	}
	fresh.check()
}

func (s *script) open() {
	s.conns = nil
	for _, setup := range s.setup {
		c := s.in.writer(s.r, s.params...)
		for query := range strings.SplitSeq(setup, "; ") {
			c.run(query)
		}
		s.conns = append(s.conns, c)
	}
}

func (s *script) close() {
	for _, c := range s.conns {
		c.close()
	}
}

// both runs a statement on the connection and on the plain file, which must both
// succeed or both fail.
func (s *script) both(query string, args ...any) bool {
	s.e.Helper()
	s.log = append(s.log, fmt.Sprintf("%d: %.300s", s.at, query))
	_, got := s.conns[s.at].try(query, args...)
	_, want := s.plain.try(query, args...)
	if (got == nil) != (want == nil) {
		s.e.Errorf("%.300s: error is %v, with plain SQLite %v", query, got, want)
	}
	return got == nil
}

// ended is called when a statement may have committed. Another connection may run
// the next one.
func (s *script) ended() {
	if s.inTx {
		return
	}
	s.committed = s.plain.dump()
	if s.exclusive && s.rng.IntN(2) == 0 {
		s.share()
	}
	if !s.exclusive {
		s.at = s.rng.IntN(len(s.conns))
	}
}

// share ends the locking mode EXCLUSIVE.
func (s *script) share() {
	if s.exclusive {
		s.conns[s.at].runAll("PRAGMA locking_mode = normal", "SELECT count(*) FROM sqlite_schema")
		s.exclusive = false
	}
}

// end ends the transaction that is open, if one is.
func (s *script) end(commit bool) {
	if s.inTx {
		s.both(map[bool]string{true: "COMMIT", false: "ROLLBACK"}[commit || s.off[s.at]])
		s.inTx, s.savepoints = false, 0
	}
	s.ended()
}

// check compares what every connection sees.
func (s *script) check() {
	s.e.Helper()
	for i, c := range s.conns {
		want := s.committed
		if i == s.at {
			want = s.plain.dump()
		}
		if got := c.dump(); got != want {
			s.e.Fatalf("connection %d of %v sees %.500q, want %.500q", i, s.setup, got, want)
		}
		c.check()
	}
}

// step runs a random statement.
func (s *script) step() {
	table := fmt.Sprintf("t%d", s.rng.IntN(s.tables))
	s.next++
	unique := s.next * 1000
	switch s.rng.IntN(24) {
	case 0, 1, 2, 3:
		s.both(numbers(fmt.Sprint(1+s.rng.IntN(1+s.rng.IntN(200)))) + fmt.Sprintf(
			"INSERT INTO %s (a, b) SELECT printf('%%.*c', i * 7919 %% %d, 'x'), %d + i FROM n", table, 1+s.rng.IntN(400), unique))
	case 4:
		blob := make([]byte, s.rng.IntN(60_000))
		for i := range blob {
			blob[i] = byte(s.rng.Uint32())
		}
		s.both(fmt.Sprintf("INSERT INTO %s (a, b) VALUES (?, %d)", table, unique), blob)
	case 5, 6, 7:
		s.both(fmt.Sprintf("UPDATE %s SET a = a || %d WHERE id %% %d = %d", table, unique, 1+s.rng.IntN(10), s.rng.IntN(5)))
	case 8, 9, 10:
		s.both(fmt.Sprintf("DELETE FROM %s WHERE id %% %d = %d", table, 1+s.rng.IntN(5), s.rng.IntN(2)))
	case 11: // it fails half way
		if !s.off[s.at] {
			s.both(fmt.Sprintf("INSERT INTO %s (a, b) SELECT a, b + %d - (id %% 7 = 6) * %d FROM %s", table, unique*1000, unique*1000, table))
		}
	case 12:
		s.both(fmt.Sprintf("CREATE TABLE t%d (id INTEGER PRIMARY KEY, a, b UNIQUE)", s.tables))
		s.tables++
	case 13:
		s.both("DROP TABLE " + table)
		s.both("CREATE TABLE " + table + " (id INTEGER PRIMARY KEY, a, b UNIQUE)")
	case 14, 15, 16:
		if s.inTx {
			s.end(s.rng.IntN(3) > 0)
			return
		}
		s.inTx = s.both(pick(s.rng, "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"))
	case 17, 18:
		s.save()
	case 19:
		s.both(pick(s.rng, "PRAGMA incremental_vacuum(3)", "PRAGMA incremental_vacuum", "VACUUM"))
	case 20:
		// Where no binding hears of commits, it keeps its lock and nothing shows
		// them, so synchronous is above OFF.
		if !s.inTx && !s.exclusive {
			s.conns[s.at].runAll("PRAGMA synchronous = normal", "PRAGMA locking_mode = exclusive")
			s.exclusive = true
		}
	case 21:
		s.check()
	case 22:
		if !s.inTx {
			s.conns[s.at].sync()
		}
	case 23:
		if !s.inTx {
			s.share()
			s.close()
			s.open()
		}
	}
	s.ended()
}

// save makes, releases or rolls back to a savepoint.
func (s *script) save() {
	switch k := s.rng.IntN(3); {
	case !s.inTx:
	case k == 0 || s.savepoints == 0:
		s.savepoints++
		s.both(fmt.Sprintf("SAVEPOINT s%d", s.savepoints))
	case k == 1:
		s.both(fmt.Sprintf("RELEASE s%d", s.savepoints))
		s.savepoints--
	case !s.off[s.at]:
		s.both(fmt.Sprintf("ROLLBACK TO s%d", s.savepoints))
	}
}
