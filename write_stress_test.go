package litestream_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/superfly/ltx"
)

var stresses = flag.Int("stresses", 0, "random runs of TestPromise5_Stress; 0: 60, or 8 with the race detector or -short")

// TestPromise5_Stress has a writer commit while listings are wrong and files
// vanish, for a while or until the end. The writer never gives up, because
// there is no other writer. What it acknowledged as synced is there for a fresh
// reader, or the next sync returns an error. Once all files are back, every
// commit is there, too.
func TestPromise5_Stress(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for seed := range uint64(cmp.Or(*stresses, testscale.Repeats(60))) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "buffer")
			synctest.Test(t, func(t *testing.T) { newStress(t, seed, path).run() })
		})
	}
}

type stress struct {
	t      *testing.T
	rng    *rand.Rand
	client *liar
	opts   litestream.Options
	vfs    *litestream.VFS
	db     querier

	next    int
	acked   map[int]bool // rows whose commit is said to be on the replica
	known   map[int]bool // rows that are committed
	back    []func()     // functions that put vanished files back
	refused int
}

func newStress(t *testing.T, seed uint64, path string) *stress {
	s := &stress{t: t, rng: rand.New(rand.NewPCG(seed, 1)), acked: make(map[int]bool), known: make(map[int]bool)}
	s.client = &liar{ReplicaClient: memoryClient(), byLevel: s.rng.IntN(2) == 0}
	s.opts = litestream.Options{
		WriteEnabled: true, SyncOnCommit: s.rng.IntN(2) == 0, CacheSize: pick[int64](s.rng, 0, -1, 8<<10),
		WriteSyncInterval: pick(s.rng, time.Second, -1), PollInterval: pick(s.rng, time.Second, -1),
		ReadTimeout: 5 * time.Second, Logger: testlog.New(t, nil),
		CompactionLevels: []time.Duration{3 * time.Second, 30 * time.Second}, L0Retention: 5 * time.Second,
	}
	if s.rng.IntN(2) == 0 {
		s.opts.WriteBufferPath = path
	}
	if s.rng.IntN(4) == 0 {
		s.opts.CompactionDisabled = true
	}
	return s
}

func (s *stress) run() {
	var vfsName string
	vfsName, s.vfs = newVFSOnly(s.t, s.client, &s.opts)
	defer s.vfs.Close(context.Background())
	s.db = openConn(s.t, vfsName, "app.db")
	mustExec(s.t, s.db, "PRAGMA page_size = 512; CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
	mustExec(s.t, s.db, "PRAGMA litestream_sync")
	for range 60 {
		s.step()
	}
	s.client.lie(nil)
	time.Sleep(time.Minute)
	n := len(s.known)
	s.insert() // a sync without commits makes no request
	if err := trySync(s.vfs, time.Minute); err == nil {
		if len(s.known) > n {
			s.check()
		}
	} else if st := status(s.t, s.db).Write; st.Error == "" {
		s.t.Errorf("sync fails with %v, and the status does not say so", err)
	}
	for _, putBack := range s.back {
		putBack()
	}
	time.Sleep(time.Minute)
	if err := trySync(s.vfs, time.Minute); err != nil {
		s.t.Fatalf("sync when all is there again: %v", err)
	}
	maps.Copy(s.acked, s.known)
	s.check()
	st := status(s.t, s.db).Write
	s.t.Logf("%d rows, %d mended, %d errors", len(s.acked), st.Mended, s.refused)
}

func (s *stress) step() {
	switch s.rng.IntN(10) {
	case 0:
		hides := lies[pick(s.rng, slices.Sorted(maps.Keys(lies))...)]
		newest := ltx.TXID(len(s.known))
		s.client.lie(func(_ int, f *ltx.FileInfo) bool { return hides(f, newest) })
	case 1, 2:
		s.client.lie(nil)
	case 3:
		if s.rng.IntN(3) == 0 {
			part := s.rng.IntN(5)
			_, putBack := s.client.take(s.t, func(f *ltx.FileInfo) bool { return s.rng.IntN(5) <= part })
			s.back = append(s.back, putBack)
		} else if n := len(s.back); n > 0 && s.rng.IntN(2) == 0 {
			s.back[n-1]()
			s.back = s.back[:n-1]
		}
	case 4:
		time.Sleep(time.Duration(s.rng.IntN(40)) * time.Second)
	case 5:
		s.sync()
	default:
		s.insert()
	}
}

func (s *stress) insert() {
	s.next++
	_, err := s.db.ExecContext(context.Background(), "INSERT INTO t VALUES (?, randomblob(?))", s.next, s.rng.IntN(2000))
	if err != nil {
		s.refuse(err)
		return
	}
	s.known[s.next] = true
	if s.opts.SyncOnCommit {
		maps.Copy(s.acked, s.known)
	}
}

func (s *stress) sync() {
	known := maps.Clone(s.known)
	if err := trySync(s.vfs, 20*time.Second); err != nil {
		s.refuse(err)
		return
	}
	maps.Copy(s.acked, known)
}

// refuse records an error, which must not be that of a writer that has given
// up.
func (s *stress) refuse(err error) {
	s.t.Helper()
	s.refused++
	if st := status(s.t, s.db).Write; errors.Is(err, litestream.ErrConflict) || !st.Enabled {
		s.t.Fatalf("the writer gave up: %v, %+v", err, st)
	}
}

// check reads the replica like a fresh process.
func (s *stress) check() {
	s.t.Helper()
	got, err := readFresh(s.t, s.client, "SELECT id FROM t")
	if err != nil {
		s.t.Errorf("a fresh reader gets %q, %v", got, err)
		return
	}
	there := make(map[int]bool)
	for text := range strings.FieldsSeq(got) {
		id, err := strconv.Atoi(text)
		if err != nil {
			s.t.Fatal(err)
		}
		there[id] = true
	}
	for id := range s.acked {
		if !there[id] {
			s.t.Errorf("row %d was acknowledged, and is not there", id)
		}
	}
}
