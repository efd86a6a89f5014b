package litestream_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/badbytes"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/maintain"
)

// badSlots is how many VFSs a scene has at most.
const badSlots = 2

// badScenes are the ways in which a replica is used, each as often as it is listed.
var badScenes = []struct {
	name string
	play func(w *badWorld)
}{
	{"read", (*badWorld).read},
	{"read", (*badWorld).read},
	{"travel", (*badWorld).travel},
	{"hydrate", (*badWorld).hydrate},
	{"follow", (*badWorld).follow},
	{"changes", (*badWorld).changes},
	{"tail", (*badWorld).tail},
	{"maintain", (*badWorld).maintain},
	{"write", (*badWorld).write},
	{"local", (*badWorld).local},
	{"shared", (*badWorld).shared},
	{"buffer", (*badWorld).buffer},
	{"web", (*badWorld).web},
}

// play plays the scene of the seed.
func (w *badWorld) play() {
	scene := badScenes[w.rng.IntN(len(badScenes))]
	for _, s := range badScenes {
		if s.name == *badScene {
			scene = s
		}
	}
	w.result.scene = scene.name
	scene.play(w)
}

// options returns options that the seed decides.
func (w *badWorld) options() litestream.Options {
	opts := litestream.Options{
		PollInterval: -1, CloseDelay: -1, WaitForReplica: -1, Logger: w.log,
		OpenTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, CloseTimeout: 10 * time.Second,
		CacheSize:          []int64{0, -1, 64 << 10}[w.rng.IntN(3)],
		IndexSize:          []int64{0, 4096}[w.rng.IntN(2)],
		ReadAheadSize:      []int64{0, -1}[w.rng.IntN(2)],
		CompactionDisabled: w.rng.IntN(2) == 0,
	}
	if w.rng.IntN(4) == 0 {
		litestream.NeverWhole(&opts)
		for key, body := range w.damaged {
			if key.MinTXID == 1 && !bytes.Equal(body, w.intact[key]) {
				w.lax = true
			}
		}
	}
	return opts
}

// badDB is an open database.
type badDB struct {
	w    *badWorld
	vfs  *litestream.VFS
	db   *sql.DB
	conn *sql.Conn
}

// open opens the database in one of the slots. It returns nil if that fails.
func (w *badWorld) open(slot int, client litestream.ReplicaClient, opts litestream.Options) *badDB {
	d := &badDB{w: w, vfs: litestream.NewVFS(client, &opts)}
	setSlot(w.runner.slots[slot], d.vfs)
	var err error
	if d.db, err = vfstest.Open(dsn(w.runner.slots[slot], "app.db")); err == nil {
		d.conn, err = d.db.Conn(context.Background())
	}
	w.note(err)
	if err != nil {
		d.close()
		return nil
	}
	return d
}

// close closes what is open.
func (d *badDB) close() {
	if d == nil {
		return
	}
	if d.conn != nil {
		_ = d.conn.Close()
	}
	if d.db != nil {
		_ = d.db.Close()
	}
	_ = d.vfs.Close(context.Background()) // commits of a buffer may be left
}

// query makes a query that may fail.
func (d *badDB) query(query string, args ...any) (string, error) {
	text, err := queryText(d.conn, query, args...)
	d.w.note(err)
	return text, err
}

// check compares the answers to all queries with those of the state that the
// database says it has. It returns that state, 0 if it is not known.
func (d *badDB) check() ltx.TXID {
	if _, err := d.query("BEGIN"); err != nil {
		return 0
	}
	defer d.query("COMMIT")
	tables, first := d.query("SELECT count(*) FROM sqlite_schema")
	text, err := d.query("PRAGMA litestream_txid")
	if err != nil {
		return 0
	}
	txid, err := ltx.ParseTXID(text)
	if err != nil {
		d.w.fail("the transaction is %q", text)
		return 0
	}
	if txid == 0 && len(d.w.damaged) == 0 && tables == "0" {
		return 0 // every file was deleted, and write mode begins a new database there
	}
	want, known := d.w.sample.answers[txid]
	if !known && !d.w.lax && first == nil {
		d.w.fail("transaction %s never was", txid)
		return 0
	}
	for i, q := range d.w.sample.queries {
		text, err := d.query(q)
		if !d.w.lax && known && err == nil && badAnswer(text, nil) != want[i] {
			d.w.fail("transaction %s, %s: wrong rows", txid, q)
		}
	}
	if d.w.rng.IntN(8) == 0 {
		d.query("PRAGMA integrity_check(3)")
	}
	return txid
}

// read opens the database and reads it.
func (w *badWorld) read() {
	d := w.open(0, badbytes.NewClient(w.damaged), w.options())
	if d == nil {
		return
	}
	defer d.close()
	d.check()
	for _, pragma := range []string{"status", "history", "files", "lag"} {
		_, _ = queryText(d.conn, "PRAGMA litestream_"+pragma)
	}
	_, err := d.vfs.History(context.Background(), "app.db")
	w.note(err)
	d.check()
}

// someTXIDs returns some transactions that there were, and others.
func (w *badWorld) someTXIDs(n int) (txids []ltx.TXID) {
	for range n {
		txids = append(txids, w.sample.txids[w.rng.IntN(len(w.sample.txids))])
	}
	if w.rng.IntN(3) == 0 {
		txids = append(txids, w.sample.txids[len(w.sample.txids)-1]+ltx.TXID(w.rng.IntN(3)))
	}
	return txids
}

// travel reads states of the past.
func (w *badWorld) travel() {
	// The newest state may not be there, so the database is opened in an intact
	// state of before.
	client := badbytes.NewClient(w.damaged)
	if w.rng.IntN(2) == 0 {
		client.Set(w.intact)
	}
	d := w.open(0, client, w.options())
	if d == nil {
		return
	}
	defer d.close()
	w.replace(client, w.damaged)
	for _, txid := range w.someTXIDs(3) {
		if _, err := d.query(fmt.Sprintf("PRAGMA litestream_txid = '%s'", txid)); err != nil {
			continue
		}
		if got := d.check(); !w.lax && got != 0 && got != txid {
			w.fail("travel to %s leads to %s", txid, got)
		}
	}
	if _, err := d.query("PRAGMA litestream_time = '2026-01-02T03:04:10Z'"); err == nil {
		d.check()
	}
	if _, err := d.query("PRAGMA litestream_time = 'latest'"); err == nil {
		d.check()
	}
}

// hydrated waits until hydration has ended.
func (d *badDB) hydrated() string {
	for range 600 {
		text, err := queryText(d.conn, "PRAGMA litestream_hydration_status")
		if err != nil || text == "complete" || text == "failed" {
			return text
		}
		time.Sleep(100 * time.Millisecond)
	}
	buf := make([]byte, 1<<20)
	d.w.fail("hydration does not end:\n%s", buf[:runtime.Stack(buf, true)])
	return ""
}

// hydrate copies the database to a temporary file.
func (w *badWorld) hydrate() {
	opts := w.options()
	opts.HydrationEnabled = true
	if w.rng.IntN(4) == 0 {
		opts.HydrationMode = litestream.HydratePages
	}
	d := w.open(0, badbytes.NewClient(w.damaged), opts)
	if d == nil {
		return
	}
	defer d.close()
	if w.rng.IntN(2) == 0 {
		d.check()
	}
	if opts.HydrationMode == "" {
		d.hydrated()
		if w.rng.IntN(2) == 0 {
			d.query(fmt.Sprintf("PRAGMA litestream_txid = '%s'", w.someTXIDs(1)[0]))
		}
	}
	d.check()
	_, err := d.vfs.HydrationMap(context.Background(), "app.db", 64)
	w.note(err)
}

// until returns the files of a replica up to a transaction.
func until(r badbytes.Replica, txid ltx.TXID) badbytes.Replica {
	r = r.Clone()
	for key := range r {
		if key.MaxTXID > txid {
			delete(r, key)
		}
	}
	return r
}

// follow opens an early state, and then the damage comes.
func (w *badWorld) follow() {
	txid := w.sample.txids[w.rng.IntN(len(w.sample.txids))]
	client := badbytes.NewClient(until(w.intact, txid))
	opts := w.options()
	opts.PollInterval = time.Second
	opts.HydrationEnabled = w.rng.IntN(3) == 0
	d := w.open(0, client, opts)
	if d == nil {
		return
	}
	defer d.close()
	d.check()
	w.replace(client, w.damaged)
	for range 3 {
		time.Sleep(3 * time.Second)
		d.check()
	}
	w.replace(client, w.intact)
	time.Sleep(time.Minute)
	d.check()
}

// changes compares states.
func (w *badWorld) changes() {
	opts := w.options()
	vfs := litestream.NewVFS(badbytes.NewClient(w.damaged), &opts)
	defer vfs.Close(context.Background())
	setSlot(w.runner.slots[0], vfs)
	good := litestream.NewVFS(badbytes.NewClient(w.intact), &litestream.Options{CloseDelay: -1, PollInterval: -1, Logger: w.log})
	defer good.Close(context.Background())
	for range 2 {
		txids := w.someTXIDs(2)
		got, err := badChanges(vfs, txids[0], txids[1])
		w.note(err)
		if err != nil || w.lax {
			continue
		}
		want, err := badChanges(good, txids[0], txids[1])
		if err != nil {
			w.fail("changes from %s to %s of the intact replica: %v", txids[0], txids[1], err)
		} else if got != want {
			w.fail("changes from %s to %s are others", txids[0], txids[1])
		}
	}
	_, err := vfs.CountChanges(context.Background(), "app.db", w.sample.txids[0], 0)
	w.note(err)
}

// badChanges returns what has changed, in short.
func badChanges(vfs *litestream.VFS, from, to ltx.TXID) (string, error) {
	var b bytes.Buffer
	n := 0
	for c, err := range vfs.Changes(context.Background(), "app.db", from, to) {
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%+v\n", c)
		if n++; n == badRows {
			break
		}
	}
	return badAnswer(b.String(), nil), nil
}

// tail follows the changes while the damage comes.
func (w *badWorld) tail() {
	txid := w.sample.txids[w.rng.IntN(len(w.sample.txids))]
	client := badbytes.NewClient(until(w.intact, txid))
	opts := w.options()
	vfs := litestream.NewVFS(client, &opts)
	defer vfs.Close(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	n := 0
	for e, err := range vfs.Tail(ctx, "app.db", litestream.HistoryPoint{TXID: txid}) {
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				w.note(err)
			}
			break
		}
		w.note(nil)
		if e.Kind == litestream.TailBegin {
			w.replace(client, w.damaged)
		}
		if n++; n > 20*badRows {
			break
		}
	}
}

// maintain does what an operator does.
func (w *badWorld) maintain() {
	ctx := context.Background()
	client := badbytes.NewClient(w.damaged)
	req := maintain.Requests{Logger: w.log, Timeout: 5 * time.Second}
	_, err := maintain.Verify(ctx, client, maintain.VerifyOptions{Requests: req, Quick: w.rng.IntN(2) == 0})
	w.note(err)
	_, err = maintain.Inspect(ctx, client, req)
	w.note(err)
	_, err = maintain.History(ctx, client, time.Time{}, req)
	w.note(err)
	w.restore(client, 0)
	w.restore(client, w.someTXIDs(1)[0])
	switch w.rng.IntN(5) {
	case 0:
		_, err = maintain.Compact(ctx, client, maintain.CompactOptions{Requests: req, Young: true})
	case 1:
		_, err = maintain.Snapshot(ctx, client, maintain.SnapshotOptions{Requests: req})
	case 2:
		_, err = maintain.Repair(ctx, client, maintain.RepairOptions{Requests: req})
	case 3:
		_, err = maintain.Prune(ctx, client, maintain.PruneOptions{Requests: req, Keep: maintain.Keep{Last: 2}, WriterMayRun: true})
	case 4:
		to := badbytes.NewClient(badbytes.Replica{})
		if _, err = maintain.Copy(ctx, client, to, maintain.CopyOptions{Requests: req}); err == nil {
			client = to
		}
	}
	w.note(err)
	w.restore(client, 0)
	w.restore(client, w.someTXIDs(1)[0])
}

// restore compares a restored file with the state that it has to be.
func (w *badWorld) restore(client *badbytes.Client, at ltx.TXID) {
	path := filepath.Join(w.dir, "restored.db")
	defer func() {
		for _, suffix := range []string{"", ".partial", ".partial-record"} {
			_ = os.Remove(path + suffix)
		}
	}()
	result, err := maintain.Restore(context.Background(), client, path, maintain.RestoreOptions{
		Requests: maintain.Requests{Logger: w.log, Timeout: 5 * time.Second}, At: maintain.Moment{TXID: at}, Sparse: true,
	})
	w.note(err)
	if err != nil || w.result.damage.Forged {
		return
	}
	image, err := os.ReadFile(path)
	if err != nil {
		w.fail("read what was restored: %v", err)
		return
	}
	if want, ok := w.sample.images[result.TXID]; !ok || !bytes.Equal(image, want) || at != 0 && at != result.TXID {
		w.fail("restore of %s, asked for %s, gives another file", result.TXID, at)
	}
}

// write commits to a damaged replica, and looks for the commit afterwards.
func (w *badWorld) write() {
	client := badbytes.NewClient(w.damaged)
	opts := w.options()
	opts.WriteEnabled, opts.WriteSyncInterval = true, -1
	d := w.open(0, client, opts)
	if d == nil {
		return
	}
	defer func() { d.close() }()
	if w.rng.IntN(2) == 0 {
		d.check()
	}
	_, err := d.query("CREATE TABLE IF NOT EXISTS bad_bytes (x)")
	if err == nil {
		_, err = d.query("INSERT INTO bad_bytes VALUES (?)", w.seed)
	}
	if err == nil && len(w.sample.tables) > 0 {
		_, _ = d.query(fmt.Sprintf(`DELETE FROM "%s" WHERE rowid %% 5 = 1`, w.sample.tables[0]))
	}
	if err == nil {
		_, err = d.query("PRAGMA litestream_sync")
	}
	if w.rng.IntN(4) == 0 {
		time.Sleep(time.Hour) // compaction
	}
	d.close()
	d = nil
	if err != nil {
		return
	}
	opts.WriteEnabled = false
	if d = w.open(1, client, opts); d == nil {
		return
	}
	if text, err := d.query("SELECT count(*) FROM bad_bytes WHERE x = ?", w.seed); err == nil && text != "1" && !w.lax {
		w.fail("%s rows of a commit that was synced", text)
	}
}
