//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream"
)

const (
	processes   = 4  // of the scenario mixed; the first one writes
	connections = 16 // of each process
)

// runMixed runs processes that use one database: one writes, syncs and compacts, two
// share a local copy, and one has none and travels in time. Each transaction checks
// sums.
func runMixed(ctx context.Context, c *config) (all []*report, err error) {
	r := &report{Title: fmt.Sprintf("mixed: %d connections in %d processes for %s", processes*connections, processes, c.length)}
	dir, remove, err := c.folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	s, err := startStore(c.latency)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	client := s.client("mixed")
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := newBank(ctx, client, filepath.Join(dir, "bank.db")); err != nil {
		return nil, fmt.Errorf("make the database: %w", err)
	}
	works := []workerRole{
		{Name: "writer", Writes: true, HydrationPath: filepath.Join(dir, "writer-copy.db"), BufferPath: filepath.Join(dir, "buffer")},
		{Name: "reader with a shared copy", HydrationPath: filepath.Join(dir, "copy.db")},
		{Name: "second reader with that copy", HydrationPath: filepath.Join(dir, "copy.db")},
		{Name: "reader in place, travels", Travels: true},
	}
	ends := make([]workerEnd, len(works))
	var group errgroup.Group
	for i, w := range works {
		w.URL, w.Length, w.Think, w.Seed = s.url("mixed"), c.length, c.think, uint64(i)
		child, err := startRole(w.Name, role{Worker: &w})
		if err != nil {
			return nil, errors.Join(err, group.Wait())
		}
		group.Go(func() error {
			err := child.read(&ends[i])
			if errors.Is(err, io.EOF) {
				err = nil // the error of its end says why
			}
			return errors.Join(err, child.end())
		})
		stop := context.AfterFunc(ctx, func() { _ = child.in.Close() })
		defer stop()
	}
	if err := group.Wait(); err != nil {
		return []*report{r}, err
	}
	reads, writes, syncs := new(histogram), new(histogram), new(histogram)
	for i := range ends {
		reads.merge(&ends[i].Reads)
		writes.merge(&ends[i].Writes)
		syncs.merge(&ends[i].Syncs)
	}
	r.add("transactions that read", float64(reads.Count), "")
	r.latencies("read", reads)
	r.add("transactions that write", float64(writes.Count), "")
	r.latencies("write", writes)
	r.latencies("sync", syncs)
	for i, w := range works {
		r.process(w.Name, ends[i].Samples)
	}
	return []*report{r}, checkBank(ctx, client, ends[0].Seq)
}

// process adds what a process has taken in each second.
func (r *report) process(name string, samples []sample) {
	of := func(value func(sample) float64) (all []float64) {
		for _, s := range samples {
			all = append(all, value(s))
		}
		return all
	}
	const (
		slackMemory, slackCount = 16, 16
		shortest                = 120 // samples with which growth tells something
	)
	if len(samples) == 0 {
		return
	}
	if len(samples) < shortest {
		r.add(name+": memory", float64(samples[len(samples)-1].Memory)/(1<<20), "MiB")
		return
	}
	r.flat(name+": memory", of(func(s sample) float64 { return float64(s.Memory) / (1 << 20) }), slackMemory, "MiB")
	r.flat(name+": Go heap", of(func(s sample) float64 { return float64(s.Heap) / (1 << 20) }), slackMemory, "MiB")
	r.flat(name+": goroutines", of(func(s sample) float64 { return float64(s.Goroutines) }), slackCount, "")
	r.flat(name+": descriptors", of(func(s sample) float64 { return float64(s.Descriptors) }), slackCount, "")
	if n := len(samples); n > 1 {
		r.add(name+": processor time", 100*(samples[n-1].CPU-samples[0].CPU).Seconds()/float64(n-1), "% of a core")
	}
}

const (
	groups       = 200  // of accounts
	perGroup     = 100  // accounts of a group
	firstBalance = 1000 // of each account
	ledgerLength = 2000 // number of transfers that the ledger keeps
)

// newBank makes a replica with accounts. What each group has together stays the same.
func newBank(ctx context.Context, client litestream.ReplicaClient, path string) (err error) {
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		return err
	}
	for _, statement := range []string{
		"CREATE TABLE accounts (id INTEGER PRIMARY KEY, grp INTEGER, balance INTEGER, pad TEXT)",
		"CREATE INDEX accounts_grp ON accounts (grp)",
		"CREATE TABLE ledger (seq INTEGER PRIMARY KEY, source INTEGER, target INTEGER, amount INTEGER)",
		"CREATE TABLE newest (seq INTEGER)",
		"INSERT INTO newest VALUES (0)",
		fmt.Sprintf("WITH RECURSIVE c(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM c WHERE id < %d)"+
			" INSERT INTO accounts SELECT id, id %% %d, %d, hex(randomblob(150)) FROM c", groups*perGroup-1, groups, firstBalance),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	return importFile(ctx, client, path)
}

// checkBank checks the replica once the writer has ended.
func checkBank(ctx context.Context, client litestream.ReplicaClient, seq int64) (err error) {
	db, closeAll, err := open(client, "mixed", &litestream.Options{PollInterval: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	var balance, newest int64
	var check string
	if err := db.QueryRowContext(ctx, "SELECT sum(balance), (SELECT seq FROM newest) FROM accounts").Scan(&balance, &newest); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&check); err != nil {
		return err
	}
	if balance != groups*perGroup*firstBalance || newest != seq || check != "ok" {
		return fmt.Errorf("the replica has %d in all accounts and %d transfers, %d were acknowledged; integrity check: %s", balance, newest, seq, check)
	}
	return nil
}

// pause waits, or returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
