package killtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

const (
	shareVariable = "LITESTREAM_SHARETEST" // environment variable that contains the task of a sharing child
	sharers       = 4                      // number of processes that share a file
	shareRows     = 1500
	shareFill     = "replace(hex(zeroblob(30)), '00', printf('%05d%09d', id, gen))"
)

// shareTask tells a process that shares a local file what to do.
type shareTask struct {
	Store, Path string
}

// shareReport is what a process that shares a local file tells after a look.
type shareReport struct {
	TXID     ltx.TXID
	Owner    int // process that owns the file; 0: this one
	File     string
	Complete bool
	Looks    int
}

// shareChild reads all rows again and again, and reports. Every state of the
// database says by itself whether it is right: the rows contain what they were
// last set to, and one row has the sum of all.
func shareChild(text string, newClient func(string) (litestream.ReplicaClient, error)) error {
	var k shareTask
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return err
	}
	client, err := newClient(k.Store)
	if err != nil {
		return err
	}
	vfs := litestream.NewVFS(slowReads{client}, &litestream.Options{
		HydrationEnabled: true, HydrationPath: k.Path, HydrationConcurrency: 1,
		PollInterval: 30 * time.Millisecond, CacheSize: -1, ReadAheadSize: -1,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err := vfstest.Register("sharetest", vfs); err != nil {
		return err
	}
	db, err := sqlitetest.Open("file:share.db?vfs=sharetest")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("PRAGMA cache_size = 1"); err != nil {
		return err
	}
	for looks := 1; ; looks++ {
		var off, bad, n int64
		if err := db.QueryRow(`SELECT (SELECT sum(gen) FROM r) - (SELECT total FROM s), count(*) FILTER (WHERE fill <> `+shareFill+`), count(*) FROM r`).
			Scan(&off, &bad, &n); err != nil {
			return fmt.Errorf("look %d: %w", looks, err)
		}
		s := vfs.Stats()[0]
		if off != 0 || bad != 0 || n != shareRows {
			return fmt.Errorf("look %d at transaction %s: the sum is off by %d, %d of %d rows are wrong", looks, s.TXID, off, bad, n)
		}
		h := s.Hydration
		report, err := json.Marshal(shareReport{s.TXID, h.Owner, h.File, h.Status == litestream.HydrationComplete && h.Progress == 100, looks})
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", report)
		time.Sleep(2 * time.Millisecond)
	}
}

// slowReads is a client whose reads take a while, so that processes are killed
// while they copy.
type slowReads struct{ litestream.ReplicaClient }

func (c slowReads) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	time.Sleep(time.Millisecond)
	return c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// sharer is a process that shares a local file.
type sharer struct {
	cmd  *exec.Cmd
	log  *strings.Builder
	done chan struct{} // closed when its output has ended

	mu struct {
		sync.Mutex
		last   shareReport
		at     time.Time // when it reported
		failed string
	}
}

// startSharer starts a process that shares a local file, by a command that is put
// before it if there is one.
func startSharer(t *testing.T, k shareTask, by ...string) *sharer {
	t.Helper()
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clone(by), self)
	p := &sharer{cmd: exec.Command(args[0], args[1:]...), log: new(strings.Builder), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), shareVariable+"="+string(text))
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var r shareReport
			err := json.Unmarshal(lines.Bytes(), &r)
			p.mu.Lock()
			if err != nil {
				p.mu.failed = lines.Text()
			} else {
				p.mu.last, p.mu.at = r, time.Now()
			}
			p.mu.Unlock()
		}
	}()
	return p
}

// report returns the last report, and why the process has failed.
func (p *sharer) report() (r shareReport, at time.Time, failed string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.last, p.mu.at, p.mu.failed
}

// owns reports whether the process has said last that it owns the file.
func (p *sharer) owns(path string) bool {
	r, _, _ := p.report()
	return r.Looks > 0 && r.Owner == 0 && r.File == path
}

func (p *sharer) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
	_ = p.cmd.Wait()
}

// sharers is a group of processes that share a file, and the primary that they
// follow.
type shareGroup struct {
	t       *testing.T
	task    shareTask
	primary *ltxtest.Primary
	rng     *rand.Rand
	all     []*sharer
	gen     int
}

// newShareGroup returns a group without processes, and a primary with rows.
func newShareGroup(t *testing.T, k shareTask, replica ltxtest.Store) *shareGroup {
	g := &shareGroup{
		t: t, task: k, rng: rand.New(rand.NewPCG(24, 7)),
		primary: ltxtest.New(t, replica, ltxtest.Options{PageSize: 1024}),
	}
	g.primary.Exec("CREATE TABLE r (id INTEGER PRIMARY KEY, gen INTEGER, fill TEXT)")
	g.primary.Exec("CREATE TABLE s (total INTEGER)")
	g.primary.Exec(fmt.Sprintf("WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c WHERE id < %d), g AS (SELECT id, 0 AS gen FROM c)"+
		" INSERT INTO r SELECT id, gen, %s FROM g", shareRows, shareFill))
	g.primary.Exec("INSERT INTO s VALUES (0)")
	g.primary.Snapshot()
	return g
}

// end kills all processes.
func (g *shareGroup) end() {
	for _, p := range g.all {
		p.kill()
	}
}

// RunShare kills processes that share a local file, many times at random moments,
// and stops the owner some times for longer than it may be. The processes check
// every row that they read.
func RunShare(t *testing.T, store, path string, replica ltxtest.Store, kills, stops int) {
	g := newShareGroup(t, shareTask{store, path}, replica)
	defer g.end()
	for range sharers {
		g.all = append(g.all, startSharer(t, g.task))
	}
	for i := range kills {
		g.change(i)
		if n := g.rng.IntN(4); n > 0 {
			g.awaitLooks(n)
		}
		time.Sleep(time.Duration(g.rng.IntN(40)) * time.Millisecond)
		g.killOne(i%10 == 9)
	}
	g.settle("after the kills")
	for range stops {
		g.stopOwner()
	}
	looks := 0
	for _, p := range g.all {
		r, _, _ := p.report()
		looks += r.Looks
	}
	t.Logf("%d kills, %d stops, %d transactions; the last processes looked %d times", kills, stops, g.gen, looks)
}

// change makes a transaction, and now and then compacts or makes a snapshot.
func (g *shareGroup) change(i int) {
	g.gen++
	first, n := 1+g.rng.IntN(shareRows), 1+g.rng.IntN(200)
	g.primary.Exec(fmt.Sprintf("UPDATE r SET gen = %d WHERE id BETWEEN %d AND %d OR id %% 100 = %d;"+
		" UPDATE r SET fill = %s WHERE gen = %d; UPDATE s SET total = (SELECT sum(gen) FROM r)", g.gen, first, first+n, i%100, shareFill, g.gen))
	switch i % 12 {
	case 5:
		g.primary.Compact(1, g.primary.TXID()-3, g.primary.TXID())
	case 11:
		g.primary.Snapshot()
	}
}

// check fails the test if a process has found something wrong.
func (g *shareGroup) check() {
	g.t.Helper()
	for i, p := range g.all {
		_, _, failed := p.report()
		if failed != "" {
			g.t.Fatalf("process %d: %s\n%s", i, failed, tail(p.log.String()))
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-6000):] }

// await waits until cond is true.
func (g *shareGroup) await(what string, limit time.Duration, cond func() bool) {
	g.t.Helper()
	for end := time.Now().Add(limit); !cond(); time.Sleep(2 * time.Millisecond) {
		g.check()
		if time.Now().After(end) {
			for i, p := range g.all {
				r, at, _ := p.report()
				g.t.Logf("process %d, pid %d: %+v, %v ago\n%s", i, p.cmd.Process.Pid, r, time.Since(at), tail(p.log.String()))
			}
			g.t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// awaitLooks waits until every process has looked a number of times.
func (g *shareGroup) awaitLooks(n int) {
	g.t.Helper()
	g.await("looks", 30*time.Second, func() bool {
		for _, p := range g.all {
			if r, _, _ := p.report(); r.Looks < n {
				return false
			}
		}
		return true
	})
}

// owner returns the process that owns the file, nil if that is not known.
func (g *shareGroup) owner() *sharer {
	for _, p := range g.all {
		if p.owns(g.task.Path) {
			return p
		}
	}
	return nil
}

// killOne kills the owner, or sometimes another process, and starts one in its
// place, or kills all of them.
func (g *shareGroup) killOne(all bool) {
	g.t.Helper()
	victim := g.rng.IntN(len(g.all))
	if p := g.owner(); p != nil && g.rng.IntN(5) > 0 {
		for i := range g.all {
			if g.all[i] == p {
				victim = i
			}
		}
	}
	for i, p := range g.all {
		if i == victim || all {
			p.kill()
		}
	}
	g.check()
	for i := range g.all {
		if i == victim || all {
			g.all[i] = startSharer(g.t, g.task)
		}
	}
}

// settle waits until one process owns the file and all read complete from it.
func (g *shareGroup) settle(when string) {
	g.t.Helper()
	g.await(when+": one complete copy", 60*time.Second, func() bool {
		owners := 0
		for _, p := range g.all {
			r, _, _ := p.report()
			if !r.Complete || r.File != g.task.Path || r.TXID != g.primary.TXID() {
				return false
			}
			if r.Owner == 0 {
				owners++
			}
		}
		return owners == 1
	})
}
