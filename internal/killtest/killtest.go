// Package killtest kills processes that write to a database, again and again,
// and checks that every acknowledged transaction is still there.
//
// The processes run the test binary itself, so TestMain must call Child first.
package killtest

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

const (
	variable = "LITESTREAM_KILLTEST" // environment variable that contains the task of a child
	writers  = 4                     // number of connections of a child
	rows     = 3                     // number of rows of each transaction
)

// task tells a child what to do.
type task struct {
	Store  string // argument of newClient
	Buffer string // WriteBufferPath
	Seed   uint64
	Acked  [writers]int // number of acknowledged transactions, by connection
	End    bool         // check the transactions, sync and exit

	There [writers]int `json:"-"` // number of transactions that the last process found, by connection
}

// Child runs the child process and exits if the environment contains a task.
// Otherwise it returns.
func Child(newClient func(store string) (litestream.ReplicaClient, error)) {
	text, run := os.Getenv(variable), child
	if text == "" {
		text, run = os.Getenv(shareVariable), shareChild
	}
	if text == "" {
		return
	}
	if err := run(text, newClient); err != nil {
		fmt.Println("FAILED", strings.ReplaceAll(err.Error(), "\n", " / "))
		os.Exit(1)
	}
	os.Exit(0)
}

func child(text string, newClient func(string) (litestream.ReplicaClient, error)) error {
	var k task
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return err
	}
	client, err := newClient(k.Store)
	if err != nil {
		return err
	}
	creator, ok := client.(litestream.LTXFileCreator)
	if !ok {
		return errors.New("the client cannot create files")
	}
	vfs := litestream.NewVFS(&faults{ReplicaClient: client, creator: creator, rng: rand.New(rand.NewPCG(k.Seed, 1)), on: !k.End}, &litestream.Options{
		WriteEnabled: true, WriteBufferPath: k.Buffer, WriteSyncInterval: 20 * time.Millisecond,
		HydrationEnabled: k.Seed%3 == 0,
		Logger:           slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err := vfstest.Register("killtest", vfs); err != nil {
		return err
	}
	db, err := sqlitetest.Open("file:kill.db?vfs=killtest&_busy_timeout=30000&_txlock=immediate")
	if err != nil {
		return err
	}
	db.SetMaxIdleConns(writers)
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS c (conn INTEGER, n INTEGER, k INTEGER, pad BLOB, PRIMARY KEY (conn, n, k))"); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	have, err := look(db, k.Acked)
	if err != nil {
		return err
	}
	fmt.Println("OK", have)
	if k.End {
		if err := db.Close(); err != nil {
			return err
		}
		return vfs.Close(context.Background())
	}
	errs := make(chan error)
	for conn := range writers {
		go func() { errs <- write(db, conn, have[conn], rand.New(rand.NewPCG(k.Seed, uint64(conn)+2))) }()
	}
	return <-errs
}

// look checks that the acknowledged transactions are in the database and that
// all transactions are complete. It returns the number of transactions by
// connection.
func look(db *sql.DB, acked [writers]int) (have [writers]int, err error) {
	var check string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		return have, fmt.Errorf("integrity check: %s, %w", check, err)
	}
	list, err := db.Query("SELECT conn, count(*), count(DISTINCT n), max(n) FROM c GROUP BY conn")
	if err != nil {
		return have, err
	}
	defer list.Close()
	for list.Next() {
		var conn, all, transactions, last int
		if err := list.Scan(&conn, &all, &transactions, &last); err != nil {
			return have, err
		}
		if all != rows*last || transactions != last {
			return have, fmt.Errorf("connection %d: %d rows of %d transactions up to %d", conn, all, transactions, last)
		}
		have[conn] = last
	}
	for conn, n := range acked {
		if have[conn] < n {
			return have, fmt.Errorf("connection %d: %d transactions, %d were acknowledged", conn, have[conn], n)
		}
	}
	return have, list.Err()
}

// write writes transactions until the process is killed.
func write(db *sql.DB, conn, n int, rng *rand.Rand) error {
	c, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer c.Close()
	modes := []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY"}
	if _, err := c.ExecContext(context.Background(), "PRAGMA journal_mode="+modes[rng.IntN(len(modes))]); err != nil {
		return err
	}
	for {
		n++
		tx, err := c.BeginTx(context.Background(), nil)
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		for k := range rows {
			if _, err := tx.Exec("INSERT INTO c VALUES (?, ?, ?, zeroblob(?))", conn, n, k, rng.IntN(2000)); err != nil {
				return fmt.Errorf("insert: %w", err)
			}
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		fmt.Printf("ACK %d %d\n", conn, n)
	}
}

// faults is a client whose requests are slow and fail at random. Some of them
// fail after they have been executed.
type faults struct {
	litestream.ReplicaClient
	creator litestream.LTXFileCreator
	on      bool

	mu  sync.Mutex
	rng *rand.Rand // guarded by mu
}

var errFault = errors.New("injected fault")

// roll decides at random whether a request fails before or after it is
// executed.
func (f *faults) roll() (before, after bool) {
	if !f.on {
		return false, false
	}
	f.mu.Lock()
	k, delay := f.rng.IntN(10), time.Duration(f.rng.IntN(10))*time.Millisecond
	f.mu.Unlock()
	time.Sleep(delay)
	return k == 0, k == 1
}

func (f *faults) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	before, after := f.roll()
	if before {
		return nil, errFault
	}
	info, err := f.creator.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
	if err == nil && after {
		return nil, errFault
	}
	return info, err
}

func (f *faults) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if before, _ := f.roll(); before {
		return nil, errFault
	}
	return f.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
}

// Run kills a writer many times at random moments. Each new process checks that
// every acknowledged transaction is there. One process in endEvery, and the
// last one, is not killed; it exits after a sync. If restore is not nil,
// restore then restores the replica to a file, and Run checks that the file
// contains the same transactions.
func Run(t *testing.T, store string, kills int, restore func(t *testing.T) (path string)) {
	k := task{Store: store, Buffer: filepath.Join(t.TempDir(), "buffer")}
	rng := rand.New(rand.NewPCG(uint64(kills), 3))
	total := 0
	for i := range kills {
		k.Seed = uint64(i)
		total += k.run(t, rng.IntN(25), time.Duration(rng.IntN(3000))*time.Microsecond)
		if i%endEvery == endEvery-1 || i == kills-1 {
			k.End = true
			k.run(t, 0, 0)
			k.End = false
			if restore != nil {
				k.checkRestored(t, restore(t))
			}
		}
	}
	t.Logf("%d kills, %d transactions acknowledged", kills, total)
	if left, _ := filepath.Glob(k.Buffer + "*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// endEvery is the number of killed processes for each process that exits by
// itself.
const endEvery = 10

// checkRestored checks a restored database file.
func (k *task) checkRestored(t *testing.T, path string) {
	t.Helper()
	db, err := sqlitetest.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if have, err := look(db, k.Acked); err != nil || have != k.There {
		t.Errorf("restored: %v transactions, want %v, %v", have, k.There, err)
	}
}

// run starts a process and kills it some time after it has acknowledged a
// number of transactions.
func (k *task) run(t *testing.T, transactions int, later time.Duration) (acked int) {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+string(text))
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fail := func(format string, args ...any) {
		t.Helper()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("process %d: %s\n%s", k.Seed, fmt.Sprintf(format, args...), log.String())
	}
	ok := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var conn, n int
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "OK "):
			if _, err := fmt.Sscanf(line, "OK [%d %d %d %d]", &k.There[0], &k.There[1], &k.There[2], &k.There[3]); err != nil {
				fail("%s", line)
			}
			ok = true
		case strings.HasPrefix(line, "ACK "):
			if _, err := fmt.Sscanf(line, "ACK %d %d", &conn, &n); err != nil {
				fail("%s", line)
			}
			if n <= k.Acked[conn] {
				fail("transaction %d of connection %d again", n, conn)
			}
			k.Acked[conn] = n
			acked++
		default:
			fail("%s", line)
		}
		if ok && !k.End && acked == transactions {
			time.Sleep(later)
			_ = cmd.Process.Kill() // the bytes that it has written to the pipe are still read
		}
	}
	err = cmd.Wait()
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "level=ERROR") {
			t.Logf("process %d: %s", k.Seed, line)
		}
	}
	if !ok || k.End && err != nil {
		fail("it ended: %v", err)
	}
	return acked
}
