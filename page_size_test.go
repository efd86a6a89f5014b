package litestream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// replacedDatabase is a primary whose database is replaced by one with larger
// pages. The transactions of the replica are numbered on.
type replacedDatabase struct {
	client *hookClient
	old    *ltxtest.Primary // transactions 1 and 2
	next   *ltxtest.Primary // its transactions 1 and 2 are 3 and 4 on the replica
}

func newReplacedDatabase(t *testing.T) *replacedDatabase {
	d := &replacedDatabase{client: newHookClient()}
	d.old = counterPrimary(t, d.client, 2)
	d.next = ltxtest.New(t, memory.NewReplicaClient(), ltxtest.Options{PageSize: 8192, Start: d.old.Time(2).Add(time.Minute)})
	d.next.Exec("CREATE TABLE u (x); CREATE TABLE still (y); INSERT INTO u VALUES (100)")
	d.next.Exec("UPDATE u SET x = x + 1")
	return d
}

// put stores the new database, as of a transaction of the replica, as a file
// that holds all of its pages or only those that the transaction changed.
func (d *replacedDatabase) put(t *testing.T, level int, minTXID, maxTXID ltx.TXID, whole bool) {
	t.Helper()
	size := d.next.PageSize()
	image := d.next.Image(maxTXID - 2)
	pages := make(map[uint32][]byte)
	for i := 0; i < len(image); i += size {
		page := image[i:][:size]
		if whole || !bytes.Equal(page, d.next.Image(maxTXID - 3)[i:][:size]) {
			pages[uint32(i/size+1)] = page
		}
	}
	b := ltxtest.EncodeLTX(ltx.Header{
		PageSize: uint32(size), Commit: uint32(len(image) / size), MinTXID: minTXID, MaxTXID: maxTXID,
		Timestamp: d.next.Time(maxTXID - 2).UnixMilli(),
	}, pages, false)
	if _, err := d.client.WriteLTXFile(t.Context(), level, minTXID, maxTXID, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

// want checks that a database has the newest state, and that a view of the old
// database has none of its pages.
func (d *replacedDatabase) want(t *testing.T, db *database, before *view.View) {
	t.Helper()
	cur := db.Current.Load()
	if cur.TXID != 4 || cur.PageSize != 8192 || cur.Epoch == before.Epoch {
		t.Fatalf("the view is of transaction %s, with pages of %d bytes, epoch %d", cur.TXID, cur.PageSize, cur.Epoch)
	}
	image := d.next.Image(2)
	for pgno := uint32(1); pgno <= cur.Commit; pgno++ {
		page, err := db.pages.Page(t.Context(), cur, pgno)
		if err != nil || !bytes.Equal(page, image[int(pgno-1)*8192:][:8192]) {
			t.Errorf("page %d is not that of the new database: %v", pgno, err)
		}
	}
	wantOwn(t, d.old, db, before, 1, 2, 3)
}

// TestFollow_PageSizeChanged checks that an open follower continues from a file
// that holds the whole new database, as a fresh open does, in whichever way the
// files arrive.
func TestFollow_PageSizeChanged(t *testing.T) {
	for _, tc := range []struct {
		name string
		put  func(t *testing.T, d *replacedDatabase)
	}{
		{"whole file and snapshot", func(t *testing.T, d *replacedDatabase) {
			d.put(t, 0, 3, 3, true)
			d.put(t, SnapshotLevel, 1, 3, true)
			d.put(t, 0, 4, 4, false)
		}},
		{"whole file", func(t *testing.T, d *replacedDatabase) {
			d.put(t, 0, 3, 3, true)
			d.put(t, 0, 4, 4, false)
		}},
		{"snapshot", func(t *testing.T, d *replacedDatabase) {
			d.put(t, SnapshotLevel, 1, 3, true)
			d.put(t, 0, 4, 4, false)
		}},
		{"snapshot, and a file with some of the pages", func(t *testing.T, d *replacedDatabase) {
			d.put(t, SnapshotLevel, 1, 4, true)
			d.put(t, 0, 4, 4, false)
			d.put(t, 0, 3, 4, false)
		}},
		{"whole file of a higher level", func(t *testing.T, d *replacedDatabase) {
			d.put(t, 1, 3, 4, true)
		}},
	} {
		for _, hydrated := range []bool{false, true} {
			name := tc.name
			if hydrated {
				name += ", hydrated"
			}
			t.Run(name, func(t *testing.T) {
				d := newReplacedDatabase(t)
				db := openHere(t, d.client, Options{PollInterval: -1, CacheSize: -1, HydrationEnabled: hydrated})
				before := db.Current.Load()
				tc.put(t, d)
				if err := db.poller.poll(false); err != nil {
					t.Fatalf("poll: %v", err)
				}
				if db.Current.Load().TXID != 4 { // no file of level 0 revealed it
					if err := db.poller.poll(true); err != nil {
						t.Fatalf("poll: %v", err)
					}
				}
				d.want(t, db, before)
				if hydrated {
					awaitHydrated(t, db)
					d.want(t, db, before)
				}
			})
		}
	}
}

// TestFollow_PageSizeChangedWithoutTheRest stores only some pages in the new
// size. The old state stays, and the poll says what is missing.
func TestFollow_PageSizeChangedWithoutTheRest(t *testing.T) {
	d := newReplacedDatabase(t)
	db := openHere(t, d.client, Options{PollInterval: -1, CacheSize: -1})
	before := db.Current.Load()
	d.put(t, 0, 3, 4, false)
	err := db.poller.poll(true) // the name of the file is not the one of the next transaction
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "page size is 8192, not 4096") {
		t.Errorf("poll: %v", err)
	}
	if db.Current.Load() != before {
		t.Errorf("the view is of transaction %s", db.Current.Load().TXID)
	}
	wantPages(t, d.old, db, before, 1, 2, 3)
	d.client.remove(t, view.Key{Level: 0, MinTXID: 3, MaxTXID: 4})
	d.put(t, 0, 3, 3, true)
	d.put(t, 0, 4, 4, false)
	if err := db.poller.poll(true); err != nil {
		t.Fatal(err)
	}
	d.want(t, db, before)
}

// TestWrite_PageSizeChanged has a database open for writing when another writer
// replaces it. A writer without commits continues from the new database;
// commits that are not uploaded are kept aside.
func TestWrite_PageSizeChanged(t *testing.T) {
	d := newReplacedDatabase(t)
	db := openHere(t, d.client, Options{PollInterval: -1, CacheSize: -1, WriteEnabled: true, WriteSyncInterval: time.Hour})
	before := db.Current.Load()
	c := connOf(db, nil)
	c.pinNewest()
	if err := db.writer.Begin(holder{c}); err != nil {
		t.Fatal(err)
	}
	d.put(t, 0, 3, 3, true)
	d.put(t, 0, 4, 4, false)
	if err := db.refresh(t.Context()).err(); !errors.Is(err, errs.ErrWriting) {
		t.Errorf("refresh while a connection writes: %v", err)
	}
	if db.Current.Load() != before {
		t.Error("the view changes under a transaction that writes")
	}
	db.writer.End(holder{c})
	if err := db.poller.poll(false); err != nil {
		t.Fatal(err)
	}
	d.want(t, db, before)
	c.pinNewest()
	if err := db.writer.Begin(holder{c}); err != nil {
		t.Errorf("write after the change: %v", err)
	}
	db.writer.End(holder{c})
}

// TestOpen_BadHeader opens databases whose page 1 is not that of a database of the page
// size of its file. The error says which file has it.
func TestOpen_BadHeader(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(page []byte)
		want   string
	}{
		"no database":       {func(page []byte) { page[0]++ }, "not a SQLite database"},
		"another page size": {func(page []byte) { binary.BigEndian.PutUint16(page[dbheader.OffPageSize:], 1024) }, "page size is 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			image := append(header(1, 2), make([]byte, 2*512-dbheader.Size)...)
			tc.change(image)
			opts := Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)}
			db, err := openAlone(t.Context(), "app.db", storeImage(t, image, 512), opts.withDefaults(), nil)
			if err == nil {
				_ = db.close(t.Context())
				t.Fatal("it opens")
			}
			file := view.Key{Level: SnapshotLevel, MinTXID: 1, MaxTXID: 1}.String()
			if !errors.Is(err, errs.ErrCorrupt) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "page 1 in "+file) {
				t.Errorf("open: %v, want %s in %s", err, tc.want, file)
			}
		})
	}
}
