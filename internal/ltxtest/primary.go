// Package ltxtest simulates a Litestream primary for tests.
//
// A Primary owns a plain SQLite database. It stores each transaction that runs
// through it as an LTX file. Compaction, snapshots and retention happen exactly
// when the test calls for them. The primary remembers every state of the
// database, so that a test can compare these states with the ones it reads from
// the store:
//
//	p := ltxtest.New(t, client, ltxtest.Options{})
//	p.Exec("CREATE TABLE t (x)")
//	txid := p.Exec("INSERT INTO t VALUES (?)", 1)
//	p.Compact(1, 1, txid)
//	want := p.Image(txid)
//
// A failure ends the test. The files depend only on the options and the
// statements, so a test sees the same bytes in every run.
package ltxtest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// SnapshotLevel is the level of snapshots.
const SnapshotLevel = 9

// Store stores the LTX files of a Primary. It is the part of
// litestream.ReplicaClient that a primary needs, with the same contract.
type Store interface {
	LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error)
	WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error)
	DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error
}

// Options configures a Primary. The zero value is valid.
type Options struct {
	// PageSize is the page size of the database in bytes, from 512 to 65536. 0
	// means 4096.
	PageSize int

	// Start is the time of the first transaction. The zero time means
	// 2026-01-02 03:04:05 UTC. LTX files store milliseconds.
	Start time.Time

	// Step is the time between two transactions. 0 means 1 second. If Step is
	// negative, only Advance moves the clock.
	Step time.Duration

	// FrameFormat writes pages as LZ4 frames without a size field, as
	// Litestream did before v0.5.16, instead of sized LZ4 blocks.
	FrameFormat bool

	// Rollback puts the database in rollback journal mode. By default it is in
	// WAL mode, like the databases that Litestream replicates, and bytes 18-19
	// of page 1 say so.
	Rollback bool

	// AutoVacuum is "none", "full" or "incremental". Empty means none.
	AutoVacuum string
}

// Primary is a database whose transactions become LTX files.
//
// Image, TXID, Time, PageSize and DB are safe for concurrent use. The other
// methods must not be called concurrently with each other.
type Primary struct {
	t        testing.TB
	store    Store
	opts     Options
	pageSize int

	path string
	db   *sql.DB
	f    *os.File // kept open: closing any descriptor of the file would drop SQLite's locks
	buf  []byte   // the database file as it was read last

	clock   time.Time
	history history
}

// New returns a primary with an empty database that writes to store. Its first
// transaction contains the whole database.
func New(t testing.TB, store Store, opts Options) *Primary {
	t.Helper()
	if opts.PageSize == 0 {
		opts.PageSize = 4096
	}
	if opts.Start.IsZero() {
		opts.Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	if opts.Step == 0 {
		opts.Step = time.Second
	}
	if opts.AutoVacuum == "" {
		opts.AutoVacuum = "none"
	}
	if !ltx.IsValidPageSize(uint32(opts.PageSize)) {
		t.Fatalf("new primary: invalid page size %d", opts.PageSize)
	}

	p := &Primary{
		t:        t,
		store:    store,
		opts:     opts,
		pageSize: opts.PageSize,
		path:     filepath.Join(t.TempDir(), "primary.db"),
		clock:    opts.Start,
		history:  history{pageSize: opts.PageSize, lockPgno: ltx.LockPgno(uint32(opts.PageSize))},
	}
	if err := p.open(); err != nil {
		t.Fatalf("new primary: %v", err)
	}
	return p
}

func (p *Primary) open() error {
	db, err := sqlitetest.Open(p.path)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	p.t.Cleanup(func() { db.Close() })
	p.db = db
	db.SetMaxOpenConns(1)

	journalMode := "WAL"
	if p.opts.Rollback {
		journalMode = "DELETE"
	}
	// Page size and auto-vacuum take effect only while the database does not
	// exist.
	for _, pragma := range []string{
		fmt.Sprintf("page_size = %d", p.pageSize),
		"auto_vacuum = " + p.opts.AutoVacuum,
		"journal_mode = " + journalMode,
		"synchronous = OFF", // the file does not have to survive the process
	} {
		if _, err := db.Exec("PRAGMA " + pragma); err != nil {
			return fmt.Errorf("set %s: %w", pragma, err)
		}
	}
	var got int
	if err := db.QueryRow("PRAGMA auto_vacuum").Scan(&got); err != nil {
		return fmt.Errorf("get auto_vacuum: %w", err)
	}
	if want, ok := map[string]int{"none": 0, "full": 1, "incremental": 2}[strings.ToLower(p.opts.AutoVacuum)]; !ok || got != want {
		return fmt.Errorf("set auto_vacuum %q: database has %d", p.opts.AutoVacuum, got)
	}

	// In rollback mode SQLite creates the file at the first write.
	p.f, err = os.OpenFile(p.path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open database file: %w", err)
	}
	p.t.Cleanup(func() { p.f.Close() })
	return nil
}

// Exec runs SQL as one transaction and stores its changes as one LTX file of
// level 0. It returns the TXID of the database after the transaction. If no
// page changed, Exec stores no file and returns the current TXID.
//
// Several statements can be separated by semicolons; each of them consumes its
// share of args. Statements that cannot run inside a transaction, VACUUM and
// PRAGMA, must be alone. A VACUUM must not change the page size, because all
// LTX files of a database have the same one.
func (p *Primary) Exec(query string, args ...any) ltx.TXID {
	p.t.Helper()
	if err := p.exec(query, args); err != nil {
		p.t.Fatalf("exec %.100q: %v", query, err)
	}
	commit, changed, err := p.diff()
	if err != nil {
		p.t.Fatalf("exec %.100q: %v", query, err)
	}
	cur := p.TXID()
	if len(changed) == 0 && commit == p.history.commit(cur) {
		return cur
	}
	if cur > 0 {
		p.clock = p.clock.Add(max(p.opts.Step, 0))
	}
	// Record first, so that a reader of the file can ask for the image.
	txid := p.history.record(p.clock, commit, changed)
	p.write(0, txid, txid, p.Time(txid), changed)
	return txid
}

// exec runs a transaction and writes its changes to the database file.
func (p *Primary) exec(query string, args []any) error {
	ctx := context.Background()
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()

	switch firstWord(query) {
	case "PRAGMA":
		// Some PRAGMAs, such as incremental_vacuum, do their work row by row.
		err = drain(conn.QueryContext(ctx, query, args...))
	case "VACUUM", "BEGIN":
		_, err = conn.ExecContext(ctx, query, args...)
	default:
		err = execTx(ctx, conn, query, args)
	}
	if err != nil {
		return err
	}
	if p.opts.Rollback {
		return nil
	}
	var busy, logged, checkpointed int
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &logged, &checkpointed); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	} else if busy != 0 {
		return fmt.Errorf("checkpoint: busy")
	}
	return nil
}

func execTx(ctx context.Context, conn *sql.Conn, query string, args []any) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, query, args...); err != nil {
		return err
	}
	return tx.Commit()
}

func drain(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

func firstWord(query string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(query), " ")
	return strings.ToUpper(strings.TrimRight(word, ";"))
}

// diff compares the database file with the current image and returns its
// size and the pages that are new or changed.
func (p *Primary) diff() (commit uint32, changed map[uint32][]byte, err error) {
	fi, err := p.f.Stat()
	if err != nil {
		return 0, nil, fmt.Errorf("read database file: %w", err)
	}
	size := int(fi.Size())
	if cap(p.buf) < size {
		p.buf = make([]byte, size+size/2)
	}
	p.buf = p.buf[:size]
	if _, err := p.f.ReadAt(p.buf, 0); err != nil {
		return 0, nil, fmt.Errorf("read database file: %w", err)
	}
	if size > 0 {
		got := int(binary.BigEndian.Uint16(p.buf[16:]))
		if got == 1 {
			got = 65536 // 65536 does not fit the field
		}
		if got != p.pageSize {
			return 0, nil, fmt.Errorf("page size changed from %d to %d", p.pageSize, got)
		}
	}
	if size%p.pageSize != 0 {
		return 0, nil, fmt.Errorf("read database file: size %d is not a multiple of page size %d", size, p.pageSize)
	}

	cur := p.TXID()
	curCommit := p.history.commit(cur)
	commit = uint32(size / p.pageSize)
	changed = make(map[uint32][]byte)
	for pgno := uint32(1); pgno <= commit; pgno++ {
		if pgno == p.history.lockPgno {
			continue
		}
		data := p.buf[int(pgno-1)*p.pageSize:][:p.pageSize]
		if pgno > curCommit || !bytes.Equal(data, p.history.page(pgno, cur).data) {
			changed[pgno] = bytes.Clone(data)
		}
	}
	return commit, changed, nil
}

// Compact stores the file that results from merging a range of transactions.
// For each page that they wrote and that is still in the database after the
// last of them, the file contains the newest version. Its timestamp is that of
// the last transaction. Compact uses the history, so the merged files do not
// have to exist any more.
func (p *Primary) Compact(level int, minTXID, maxTXID ltx.TXID) {
	p.t.Helper()
	if level < 1 || minTXID < 1 || minTXID > maxTXID || maxTXID > p.TXID() {
		p.t.Fatalf("compact %d/%s: invalid at txid %s", level, ltx.FormatFilename(minTXID, maxTXID), p.TXID())
	}
	p.write(level, minTXID, maxTXID, p.Time(maxTXID), p.history.pages(minTXID, maxTXID))
}

// Snapshot stores a snapshot of the current state at level 9 and returns its
// TXID. The timestamp of the snapshot is the current time of the clock.
func (p *Primary) Snapshot() ltx.TXID {
	p.t.Helper()
	txid := p.TXID()
	if txid == 0 {
		p.t.Fatal("snapshot: no transaction yet")
	}
	p.write(SnapshotLevel, 1, txid, p.clock, p.history.pages(1, txid))
	return txid
}

func (p *Primary) write(level int, minTXID, maxTXID ltx.TXID, at time.Time, pages map[uint32][]byte) {
	p.t.Helper()
	b := EncodeLTX(ltx.Header{
		PageSize:  uint32(p.pageSize),
		Commit:    p.history.commit(maxTXID),
		MinTXID:   minTXID,
		MaxTXID:   maxTXID,
		Timestamp: at.UnixMilli(),
	}, pages, p.opts.FrameFormat)
	if _, err := p.store.WriteLTXFile(context.Background(), level, minTXID, maxTXID, bytes.NewReader(b)); err != nil {
		p.t.Fatalf("write ltx file %d/%s: %v", level, ltx.FormatFilename(minTXID, maxTXID), err)
	}
}

// Delete deletes one file.
func (p *Primary) Delete(level int, minTXID, maxTXID ltx.TXID) {
	p.t.Helper()
	p.delete([]*ltx.FileInfo{{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}})
}

// DeleteLevelBelow deletes the files of a level whose MaxTXID is less than
// txid, like retention.
func (p *Primary) DeleteLevelBelow(level int, txid ltx.TXID) {
	p.t.Helper()
	itr, err := p.store.LTXFiles(context.Background(), level, 0, false)
	if err != nil {
		p.t.Fatalf("list ltx files of level %d: %v", level, err)
	}
	var a []*ltx.FileInfo
	for itr.Next() {
		if info := itr.Item(); info.MaxTXID < txid {
			a = append(a, info)
		}
	}
	err = itr.Err()
	if cerr := itr.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		p.t.Fatalf("list ltx files of level %d: %v", level, err)
	}
	p.delete(a)
}

func (p *Primary) delete(a []*ltx.FileInfo) {
	p.t.Helper()
	if len(a) == 0 {
		return
	}
	if err := p.store.DeleteLTXFiles(context.Background(), a); err != nil {
		p.t.Fatalf("delete ltx files: %v", err)
	}
}

// Advance moves the clock forward, in addition to the step of each transaction.
func (p *Primary) Advance(d time.Duration) { p.clock = p.clock.Add(d) }

// TXID returns the TXID of the newest transaction, or 0 before the first one.
// It can be one transaction ahead of the store while an Exec writes its file.
func (p *Primary) TXID() ltx.TXID { return p.history.txid() }

// Time returns the timestamp of a transaction.
func (p *Primary) Time(txid ltx.TXID) time.Time {
	p.t.Helper()
	if txid < 1 || txid > p.TXID() {
		p.t.Fatalf("time of txid %s: no such transaction", txid)
	}
	return p.history.time(txid)
}

// Image returns the whole database file as of a TXID. The image of TXID 0 is
// empty.
func (p *Primary) Image(txid ltx.TXID) []byte {
	p.t.Helper()
	if txid > p.TXID() {
		p.t.Fatalf("image of txid %s: no such transaction", txid)
	}
	return p.history.image(txid)
}

// DB returns the database, so that a test can read the expected rows. It has a
// single connection: Exec waits for open rows and transactions. Changes made
// through DB become part of the next Exec.
func (p *Primary) DB() *sql.DB { return p.db }

// PageSize returns the page size in bytes.
func (p *Primary) PageSize() int { return p.pageSize }
