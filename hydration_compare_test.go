package litestream

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
)

// textReplica is a snapshot of pages of text, in either frame format, and a
// newer file that holds every 60th page.
func textReplica(t *testing.T, commit uint32, oldFrames bool) (client *memory.ReplicaClient, want map[uint32][]byte) {
	t.Helper()
	client = memory.NewReplicaClient()
	rng := rand.New(rand.NewPCG(uint64(commit), 1))
	want = textPages(rng, 4096, pgnoRange(1, commit))
	b := ltxtest.EncodeLTX(ltx.Header{PageSize: 4096, Commit: commit, MinTXID: 1, MaxTXID: 1, Timestamp: 1000}, want, oldFrames)
	if _, err := client.WriteLTXFile(t.Context(), SnapshotLevel, 1, 1, strings.NewReader(string(b))); err != nil {
		t.Fatal(err)
	}
	var few []uint32
	for pgno := uint32(9); pgno <= commit; pgno += 60 {
		few = append(few, pgno)
	}
	news := textPages(rng, 4096, few)
	putTextPages(t, client, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2}, commit, news)
	for pgno, page := range news {
		want[pgno] = page
	}
	return client, want
}

// flipLiteral flips a bit of a page of the snapshot so that the frame decodes
// to different content.
func flipLiteral(t *testing.T, client *memory.ReplicaClient, pgno uint32) *flipClient {
	t.Helper()
	db := openHere(t, &hookClient{ReplicaClient: client}, Options{PollInterval: -1})
	loc, ok := db.Current.Load().Lookup(pgno)
	if !ok || loc.File.Level != SnapshotLevel {
		t.Fatalf("page %d is not in the snapshot", pgno)
	}
	return &flipClient{ReplicaClient: client, file: loc.File.Key(), offset: loc.Offset + int64(loc.Size)/2, mask: 2}
}

func awaitEnd(t *testing.T, db *database) hydrate.Progress {
	t.Helper()
	var p hydrate.Progress
	await(t, "an end", func() bool {
		p = db.hydrator.Progress()
		return p.Status == hydrate.Complete || p.Status == hydrate.Failed
	})
	return p
}

// Queries read all pages before hydration reads any. Their checksum is still
// compared, at the cost of the few frames that no query needs.
func TestHydration_ComparesWhatQueriesRead(t *testing.T) {
	for _, oldFrames := range []bool{false, true} {
		for _, flipped := range []bool{false, true} {
			if flipped && oldFrames {
				continue // such frames have checksums
			}
			t.Run(fmt.Sprintf("old frames %v, flipped %v", oldFrames, flipped), func(t *testing.T) {
				inner, want := textReplica(t, 500, oldFrames)
				client := flipLiteral(t, inner, 300)
				if !flipped {
					client.offset = -1
				}
				db, log := openKeptDB(t, client, filepath.Join(t.TempDir(), "local.db"), Options{HydrationRateLimit: 1 << 20, ReadAheadSize: -1})
				defer closeDB(t, db)
				v := db.Current.Load()
				for pgno := range want {
					if _, err := db.pages.Page(t.Context(), v, pgno); err != nil {
						t.Fatal(err)
					}
				}
				p := awaitEnd(t, db)
				if flipped && (p.Status != hydrate.Failed || !strings.Contains(p.Error, client.file.String())) {
					t.Errorf("%+v\n%s", p, log)
				}
				if !flipped && (p.Status != hydrate.Complete || p.VerifiedPages != 500 || p.UnverifiablePages != 0) {
					t.Errorf("%+v\n%s", p, log)
				}
			})
		}
	}
}

// A process ends when its file has nearly all pages, and one of them has a
// flipped bit. The next process compares the pages before it reports them as
// complete. It does not repeat comparisons that were made.
func TestHydration_ComparesWhatWasKept(t *testing.T) {
	for _, flipped := range []bool{false, true} {
		t.Run(fmt.Sprintf("flipped %v", flipped), func(t *testing.T) {
			inner, _ := textReplica(t, 1000, false)
			client := flipLiteral(t, inner, 300)
			if !flipped {
				client.offset = -1
			}
			path := filepath.Join(t.TempDir(), "local.db")
			open := make(chan struct{})
			half := &gateClient{flipClient: client, key: client.file, from: 1_500_000, open: open}
			db, log := openKeptDB(t, half, path, Options{HydrationConcurrency: 4})
			await(t, "most pages", func() bool { return db.hydrator.Progress().Pages > 600 })
			if p := db.hydrator.Progress(); p.Status != hydrate.Restoring || p.Progress >= 100 || p.VerifiedPages > 100 {
				t.Errorf("%+v\n%s", p, log)
			}
			closeDB(t, db)
			close(open)
			db, log = openKeptDB(t, client, path, Options{})
			p := awaitEnd(t, db)
			if !strings.Contains(log.String(), "goes on with") {
				t.Errorf("the pages were not kept: %s", log)
			}
			if flipped && p.Status != hydrate.Failed || !flipped && (p.Status != hydrate.Complete || p.VerifiedPages != 1000) {
				t.Errorf("%+v\n%s", p, log)
			}
			closeDB(t, db)
			if flipped {
				if rec, pages, err := readRecord(path); err != nil || pages > 0 || len(rec.Compared) > 0 {
					t.Errorf("the record lists %d pages, error %v", pages, err)
				}
				return
			}
			client.bytes.Store(0)
			db, _ = openKeptDB(t, client, path, Options{})
			defer closeDB(t, db)
			if p := awaitEnd(t, db); p.VerifiedPages != 1000 || p.Bytes > 0 {
				t.Errorf("%+v\n%s", p, log)
			}
		})
	}
}

// gateClient delays reads of a file from a given offset on.
type gateClient struct {
	*flipClient
	key  view.Key
	from int64
	open chan struct{}
}

func (c *gateClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if (view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}) == c.key && offset >= c.from && offset < c.from+300_000 {
		select {
		case <-c.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return c.flipClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// A page of the local file changes on disk while the process is down, and no
// sample reveals it. The replica's file is intact, and hydration starts over.
func TestHydration_LocalFileDamaged(t *testing.T) {
	inner, want := textReplica(t, 1000, false)
	client := &flipClient{ReplicaClient: inner, file: view.Key{Level: SnapshotLevel, MinTXID: 1, MaxTXID: 1}, offset: -1}
	path := filepath.Join(t.TempDir(), "local.db")
	open := make(chan struct{})
	half := &gateClient{flipClient: client, key: client.file, from: 1_500_000, open: open}
	db, _ := openKeptDB(t, half, path, Options{HydrationConcurrency: 4})
	await(t, "most pages", func() bool { return db.hydrator.Progress().Pages > 600 })
	closeDB(t, db)
	close(open)
	rec, _, err := readRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for pgno := uint32(100); ; pgno++ {
		sampled := false
		for _, s := range rec.Samples {
			sampled = sampled || s.Pgno == pgno
		}
		if !sampled && b[int(pgno-1)*4096] != 0 {
			b[int(pgno-1)*4096+100] ^= 1
			break
		}
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	db, log := openKeptDB(t, client, path, Options{})
	defer closeDB(t, db)
	await(t, "hydration", func() bool { return db.hydrator.Progress().Status == hydrate.Complete })
	if !strings.Contains(log.String(), "starts over") {
		t.Errorf("it is not noticed:\n%s", log)
	}
	v := db.Current.Load()
	for pgno, page := range want {
		got := make([]byte, 4096)
		if !db.hydrator.Tier.ReadView(v, pgno, got) || string(got) != string(page) {
			t.Errorf("page %d is not local as it was written", pgno)
		}
	}
}

// Histories continue, are compacted and cut while they are hydrated. Every page
// is covered by a checksum, or belongs to a file of which so little is needed
// that its checksum is not compared.
func TestHydration_ComparesHistories(t *testing.T) {
	for seed := range uint64(testscale.Repeats(6)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			client := newHookClient()
			p := rowsPrimary(t, client)
			compacted := p.TXID() - 5 // the last transactions of rowsPrimary are not compacted
			var opens atomic.Int64
			client.open = func(view.Key, int64) error {
				if opens.Add(1)%7 == 0 {
					time.Sleep(time.Millisecond) // lets new transactions arrive in between
				}
				return nil
			}
			path := filepath.Join(t.TempDir(), "local.db")
			db, log := openKeptDB(t, client, path, Options{HydrationConcurrency: 1})
			check := func() {
				t.Helper()
				awaitHydrated(t, db)
				wantLocal(t, p, db, db.Current.Load())
				s := db.hydrator.Progress()
				if s.VerifiedPages+s.UnverifiablePages != s.Pages || db.hydrator.Tier.IsComplete() != (s.Status == hydrate.Complete) {
					t.Errorf("%+v\n%s", s, log)
				}
			}
			for range 12 {
				switch rng.IntN(6) {
				case 0:
					p.Snapshot()
				case 1:
					p.Exec("UPDATE t SET b = randomblob(1000) WHERE id % 7 = 1")
					p.Exec("INSERT INTO t SELECT NULL, n, b FROM t WHERE id % 20 = 1")
					p.Compact(1, compacted+1, p.TXID())
					compacted = p.TXID()
					p.DeleteLevelBelow(0, compacted)
				case 2:
					p.Exec("DELETE FROM t WHERE id > 1300")
					p.Exec("VACUUM")
				case 3:
					check()
				case 4:
					closeDB(t, db)
					db, log = openKeptDB(t, client, path, Options{HydrationConcurrency: 1})
				default:
					p.Exec(fmt.Sprintf("UPDATE t SET n = n + 1, b = randomblob(1000) WHERE id %% 400 = %d", rng.IntN(400)))
				}
				mustRefresh(t, db)
			}
			check()
			closeDB(t, db)
		})
	}
}
