package litestream_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/network"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/memory"
)

// joinColumns are the columns of the database of package network by which its
// tables are joined: those of one group have values of one kind.
var joinColumns = [][][2]string{
	{{"people", "id"}, {"notes", "author"}, {"ties", "a"}, {"ties", "b"}, {"marks", "person"}},
	{{"notes", "id"}, {"marks", "note"}},
}

// randomJoin returns a join of two to four tables. It returns one row, and has few
// rows to go through.
func randomJoin(r *rand.Rand, people int) string {
	type column struct {
		name  string
		group int
	}
	var known, last []column
	add := func(table string, i int) {
		last = nil
		for g, group := range joinColumns {
			for _, c := range group {
				if c[0] == table {
					last = append(last, column{fmt.Sprintf("t%d.%s", i, c[1]), g})
				}
			}
		}
		known = append(known, last...)
	}
	group := joinColumns[r.IntN(len(joinColumns))]
	first := group[r.IntN(len(group))][0]
	add(first, 0)
	from, where := first+" t0", ""
	switch c := last[r.IntN(len(last))]; r.IntN(3) {
	case 0:
		where = fmt.Sprintf("%s >= %d", c.name, r.IntN(people))
	case 1:
		var ids []string
		for range 8 + r.IntN(60) {
			ids = append(ids, fmt.Sprint(r.IntN(people*network.NotesPerPerson)))
		}
		where = fmt.Sprintf("%s IN (%s)", c.name, strings.Join(ids, ","))
	default:
		where = fmt.Sprintf("%s BETWEEN %d AND %[2]d + 50", c.name, r.IntN(people))
	}
	for i := range 1 + r.IntN(3) {
		by := known[r.IntN(len(known))]
		to := joinColumns[by.group][r.IntN(len(joinColumns[by.group]))]
		join := []string{"CROSS", "LEFT"}[r.IntN(2)]
		from += fmt.Sprintf(" %s JOIN %s t%d ON t%[3]d.%s = %s", join, to[0], i+1, to[1], by.name)
		add(to[0], i+1)
	}
	order := ""
	if r.IntN(2) == 0 {
		order = " ORDER BY t0.rowid DESC"
	}
	return fmt.Sprintf("SELECT count(*), sum(x), min(x), max(x) FROM (SELECT %s AS x FROM %s WHERE %s%s LIMIT 300)", last[r.IntN(len(last))].name, from, where, order)
}

// joinReaders run queries on connections of their own until they are stopped.
type joinReaders struct {
	t     *testing.T
	db    *sql.DB
	texts []string // of the queries

	wg      sync.WaitGroup
	done    atomic.Int64 // transactions
	stopped atomic.Bool
	failed  atomic.Bool
	newest  atomic.Value // TXID of the transaction that ended last

	mu struct {
		sync.Mutex
		results []joinResult
	}
}

// joinResult is what a query gave in a transaction.
type joinResult struct {
	txid  string
	query int
	got   string
}

// add starts a connection.
func (j *joinReaders) add(r *rand.Rand) {
	j.wg.Go(func() {
		if err := j.run(r); err != nil {
			j.t.Error(err)
			j.failed.Store(true)
		}
	})
}

func (j *joinReaders) run(r *rand.Rand) error {
	conn, err := j.db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	for !j.stopped.Load() {
		var txid string
		var results []joinResult
		err := inTransaction(conn, fmt.Sprintf("PRAGMA cache_size = %d", []int{5, 50, 500}[r.IntN(3)]), func() error {
			text, err := queryText(conn, "PRAGMA litestream_txid")
			txid = strings.TrimSpace(text)
			for i := 0; i < 3 && err == nil; i++ {
				one := joinResult{txid: txid, query: r.IntN(len(j.texts))}
				one.got, err = queryText(conn, j.texts[one.query])
				results = append(results, one)
			}
			return err
		})
		if err != nil {
			return err
		}
		j.mu.Lock()
		j.mu.results = append(j.mu.results, results...)
		j.mu.Unlock()
		j.newest.Store(txid)
		j.done.Add(1)
	}
	return nil
}

// stop stops the connections, and waits for them.
func (j *joinReaders) stop() {
	j.stopped.Store(true)
	j.wg.Wait()
}

// TestJoins_WhileWriting runs random joins on eight connections while the primary
// commits, and compares each result with that of plain SQLite at the same
// transaction.
func TestJoins_WhileWriting(t *testing.T) {
	const (
		people      = 60
		connections = 8
		queries     = 20
		commits     = 12
		perCommit   = 6 // transactions of the readers at least, for each commit
	)
	sizes := []int64{-1, 64 << 10, 1 << 20, 10 << 20}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			client := memory.NewReplicaClient()
			p := ltxtest.New(t, client, ltxtest.Options{})
			for _, stmt := range network.Statements(people) {
				p.Exec(stmt)
			}
			var texts []string
			for range queries {
				texts = append(texts, randomJoin(r, people))
			}
			answers := make(map[string]string) // of plain SQLite, by transaction and query
			key := func(txid string, query int) string { return fmt.Sprint(txid, " ", query) }
			answer := func() {
				for i, text := range texts {
					answers[key(p.TXID().String(), i)] = mustQuery(t, p.DB(), text)
				}
			}
			answer()

			opts := litestream.Options{PollInterval: 5 * time.Millisecond, CacheSize: sizes[r.IntN(len(sizes))], ReadAheadSize: sizes[1+r.IntN(len(sizes)-1)]}
			t.Logf("CacheSize %d, ReadAheadSize %d", opts.CacheSize, opts.ReadAheadSize)
			vfsName, vfs := newVFS(t, client, &opts)
			defer vfs.Close(context.Background())
			db, err := vfstest.Open(dsn(vfsName, "app.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()

			readers := joinReaders{t: t, db: db, texts: texts}
			readers.newest.Store("")
			defer readers.stop()
			for c := range connections {
				readers.add(rand.New(rand.NewPCG(seed, uint64(2+c))))
			}
			for i := range commits {
				waitFor(t, "transactions", func() bool { return readers.failed.Load() || readers.done.Load() >= int64(i*perCommit) })
				n := r.IntN(people * network.NotesPerPerson)
				switch r.IntN(4) {
				case 0:
					p.Exec("UPDATE notes SET author = 1 + (author + ?) % ? WHERE id BETWEEN ? AND ? + 40", n, people, n, n)
				case 1:
					p.Exec("UPDATE people SET about = about || hex(zeroblob(200)) WHERE id % 7 = ?", n%7)
				case 2:
					p.Exec("DELETE FROM marks WHERE note % 11 = ?", n%11)
				default:
					p.Exec("INSERT INTO ties SELECT b, a, since FROM ties WHERE a = ?", 1+n%people)
				}
				answer()
			}
			waitFor(t, "transactions", func() bool { return readers.failed.Load() || readers.newest.Load() == p.TXID().String() })
			readers.stop()
			seen := make(map[string]bool)
			for _, one := range readers.mu.results {
				seen[one.txid] = true
				if want, ok := answers[key(one.txid, one.query)]; one.got != want || !ok {
					t.Errorf("transaction %s: got %s, want %s for %s", one.txid, one.got, want, texts[one.query])
				}
			}
			if len(seen) < 2 {
				t.Errorf("all results are of %d transactions", len(seen))
			}
			stats := vfs.Stats()[0]
			t.Logf("%d transactions of readers at %d states, %d pages prefetched", readers.done.Load(), len(seen), stats.Prefetched)
		})
	}
}

// inTransaction runs a statement, and do within a transaction.
func inTransaction(conn *sql.Conn, before string, do func() error) error {
	ctx := context.Background()
	if _, err := conn.ExecContext(ctx, before); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	_, err := queryText(conn, "SELECT count(*) FROM sqlite_schema") // the transaction begins with its first read
	if err == nil {
		err = do()
	}
	if _, end := conn.ExecContext(ctx, "COMMIT"); err == nil {
		err = end
	}
	return err
}
