//go:build linux

package main

import (
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
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/maintain"
)

// config says what is measured.
type config struct {
	megabytes      int // size of the database
	latency        time.Duration
	poll, pollTime time.Duration
	lookups, runs  int
	apart          bool // also with a copy for each process
}

const rowSize = 400 // bytes of a row, about

// The queries of workers. The first columns add up to the same everywhere.
const (
	scan      = "SELECT sum(length(body)) + sum(n) + count(*) FROM events"
	lookup    = "SELECT n FROM events WHERE id = ?"
	newest    = "SELECT max(id) FROM events"
	hydration = "SELECT litestream_status()"
)

// result is what was measured.
type result struct {
	config
	size       int64 // of the database, in bytes
	one        group
	all, apart *group
}

// group is what processes do that run at the same time.
type group struct {
	opened  traffic       // from the open to the complete copy
	took    time.Duration // until then
	polls   traffic       // during pollTime
	disk    int64         // bytes on the disk, when they are complete
	news    time.Duration // from an upload until the last process has seen it
	members []member
}

// member is what one process does.
type member struct {
	name        string
	memory      memory     // private, when the copy is complete
	scan, seeks comparison // of all rows, and of random ones
}

// comparison has the seconds of queries in place and of those on a file.
type comparison struct{ place, plain float64 }

func (c comparison) ratio() float64 { return c.place / c.plain }

// bench is what the groups have in common.
type bench struct {
	config
	dir    string
	plain  string // path of the database as a file
	store  *store
	kinds  []kind
	writer *sql.DB // of the replica
	file   *sql.DB
	rows   int64
	groups int // number of groups so far
}

func (c config) run(ctx context.Context) (r *result, err error) {
	dir, err := os.MkdirTemp("", "litestream-processes-")
	if err != nil {
		return nil, err
	}
	b := &bench{config: c, dir: dir, plain: filepath.Join(dir, "plain.db"), store: newStore(c.latency)}
	defer func() { err = errors.Join(err, b.close()) }()
	if b.kinds, err = kinds(ctx, dir); err != nil {
		return nil, err
	}
	if err := b.fill(ctx); err != nil {
		return nil, fmt.Errorf("make the database: %w", err)
	}
	info, err := os.Stat(b.plain)
	if err != nil {
		return nil, err
	}
	r = &result{config: c, size: info.Size()}
	if r.one, err = b.measure(ctx, b.kinds[:1], true); err != nil {
		return nil, fmt.Errorf("one process: %w", err)
	}
	both := slices.Concat(b.kinds, b.kinds)
	all, err := b.measure(ctx, both, true)
	if err != nil {
		return nil, fmt.Errorf("%d processes: %w", len(both), err)
	}
	r.all = &all
	if c.apart {
		apart, err := b.measure(ctx, both, false)
		if err != nil {
			return nil, fmt.Errorf("%d processes with copies of their own: %w", len(both), err)
		}
		r.apart = &apart
	}
	return r, nil
}

func (b *bench) close() (err error) {
	for _, db := range []*sql.DB{b.writer, b.file} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	b.store.close()
	return errors.Join(err, os.RemoveAll(b.dir))
}

// errMissing is that of a program that this bench needs.
type errMissing struct{ variable, from string }

func (e *errMissing) Error() string {
	return fmt.Sprintf("%s is not set; %s sets it", e.variable, e.from)
}

// kinds builds the workers.
func kinds(ctx context.Context, dir string) ([]kind, error) {
	values := make(map[string]string)
	for _, m := range []errMissing{
		{"LITESTREAM_TEST_EXTENSION", "scripts/extension prints it, and scripts/check"},
		{"LITESTREAM_TEST_PYTHON", "scripts/clients install"},
		{"LITESTREAM_TEST_NODE", "scripts/clients install"},
		{"LITESTREAM_TEST_NODE_MODULES", "scripts/clients install"},
	} {
		if values[m.variable] = os.Getenv(m.variable); values[m.variable] == "" {
			return nil, &m
		}
	}
	library := values["LITESTREAM_TEST_EXTENSION"]
	here, err := source()
	if err != nil {
		return nil, err
	}
	packages := filepath.Join(here, "..", "..", "packages")
	// The packages look for the library beside themselves.
	python, node := filepath.Join(dir, "python", "litestream_vfs"), filepath.Join(dir, "node_modules", "@ltxvfs", "litestream-vfs")
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	lib := filepath.Join(node, "lib", runtime.GOOS+"-"+arch)
	if err := errors.Join(
		os.MkdirAll(filepath.Dir(python), 0o700),
		os.CopyFS(python, os.DirFS(filepath.Join(packages, "python", "src", "litestream_vfs"))),
		os.Symlink(library, filepath.Join(python, filepath.Base(library))),
		os.MkdirAll(lib, 0o700),
		os.Symlink(library, filepath.Join(lib, filepath.Base(library))),
	); err != nil {
		return nil, err
	}
	for _, name := range []string{"index.js", "package.json"} {
		code, err := os.ReadFile(filepath.Join(packages, "node", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(node, name), code, 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	all := []kind{{name: "mattn"}, {name: "ncruces"}}
	for i, cgo := range []string{"CGO_ENABLED=1", "CGO_ENABLED=0"} {
		path := filepath.Join(dir, "worker-"+all[i].name)
		cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./worker")
		cmd.Dir, cmd.Env = here, append(os.Environ(), cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build worker with %s: %w\n%s", cgo, err, out)
		}
		all[i].argv = []string{path}
	}
	return append(all,
		kind{"Python", []string{values["LITESTREAM_TEST_PYTHON"], filepath.Join(here, "worker.py")},
			[]string{"PYTHONPATH=" + filepath.Dir(python), "PYTHONDONTWRITEBYTECODE=1"}},
		kind{"Node.js", []string{values["LITESTREAM_TEST_NODE"], "--no-warnings", filepath.Join(here, "worker.js")},
			[]string{"NODE_PATH=" + filepath.Join(dir, "node_modules") + ":" + filepath.Join(values["LITESTREAM_TEST_NODE_MODULES"], "node_modules")}}), nil
}

// source returns the folder of this program's code.
func source() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return "", errors.New("the folder of the code is not known; it is built with -trimpath")
	}
	return filepath.Dir(file), nil
}

// fill makes the database, as a file and as a replica.
func (b *bench) fill(ctx context.Context) (err error) {
	if b.file, err = sql.Open("sqlite3", "file:"+b.plain+"?_journal_mode=WAL&_synchronous=OFF&_busy_timeout=10000"); err != nil {
		return err
	}
	b.file.SetMaxOpenConns(1)
	rows := int64(b.megabytes) * 1e6 / rowSize
	for _, statement := range []string{
		"CREATE TABLE events (id INTEGER PRIMARY KEY, n INTEGER, body TEXT)",
		fmt.Sprintf("WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c WHERE id < %d)"+
			" INSERT INTO events SELECT id, id * 7919 %% 1000003, hex(randomblob(100)) || printf('%%0180d', id) FROM c", rows),
		"PRAGMA wal_checkpoint(TRUNCATE)",
	} {
		if _, err := b.file.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	b.rows = rows
	f, err := os.Open(b.plain)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	src, err := maintain.NewFileSource(f, info.Size())
	if err != nil {
		return err
	}
	if _, err := maintain.Import(ctx, b.store.client(), src, maintain.ImportOptions{}); err != nil {
		return err
	}
	// This process takes them from the environment, as the others do.
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	b.writer, err = litestream.Open(b.store.url(), &litestream.Options{WriteEnabled: true, WriteSyncInterval: time.Hour, PollInterval: -1, Logger: slog.New(slog.DiscardHandler)})
	return err
}

// change makes a transaction in the file and in the replica. It returns once it is
// uploaded.
func (b *bench) change(ctx context.Context) error {
	b.rows++
	for _, statement := range []string{
		fmt.Sprintf("INSERT INTO events VALUES (%d, %d, 'news')", b.rows, b.rows),
		fmt.Sprintf("UPDATE events SET n = n + 1 WHERE id %% 1009 = %d", b.rows%1009),
	} {
		for _, db := range []*sql.DB{b.file, b.writer} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
	}
	_, err := b.writer.ExecContext(ctx, "PRAGMA litestream_sync")
	return err
}

// measure starts processes of kinds at once, and measures what they do.
func (b *bench) measure(ctx context.Context, kinds []kind, share bool) (g group, err error) {
	b.groups++
	folder := filepath.Join(b.dir, fmt.Sprintf("group-%d", b.groups))
	if err := os.Mkdir(folder, 0o700); err != nil {
		return g, err
	}
	path := ""
	if share {
		path = filepath.Join(folder, "copy.db")
	}
	env := []string{
		"WORKER_URL=" + b.store.url(), "WORKER_PLAIN=" + b.plain, "WORKER_PATH=" + path, "WORKER_POLL=" + b.poll.String(),
		"TMPDIR=" + folder, "AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey,
	}
	var all []*process
	defer func() {
		for _, p := range all {
			err = errors.Join(err, p.end())
		}
	}()
	for _, k := range kinds {
		p, err := k.start(env)
		if err != nil {
			return g, err
		}
		all = append(all, p)
	}
	start := time.Now()
	if g.opened, err = b.store.during(func() error { return each(all, func(p *process) error { return complete(ctx, p) }) }); err != nil {
		return g, err
	}
	g.took = time.Since(start)
	if g.disk, err = b.disk(folder, all); err != nil {
		return g, err
	}
	if g.members, err = b.compare(all); err != nil {
		return g, err
	}
	if g.polls, err = b.store.during(func() error {
		return each(all, func(p *process) error { return b.use(ctx, p) })
	}); err != nil {
		return g, err
	}
	if err := b.change(ctx); err != nil {
		return g, fmt.Errorf("news: %w", err)
	}
	start = time.Now()
	if err := each(all, func(p *process) error { return b.await(ctx, p) }); err != nil {
		return g, err
	}
	g.news = time.Since(start)
	// All read right what has changed, and the copy becomes complete again.
	if err := each(all, func(p *process) error { return errors.Join(same(p, scan), complete(ctx, p), same(p, scan)) }); err != nil {
		return g, err
	}
	return g, nil
}

func each(all []*process, f func(*process) error) error {
	var g errgroup.Group
	for _, p := range all {
		g.Go(func() error { return f(p) })
	}
	return g.Wait()
}

// patience is how long a process may take for what it is to do.
const patience = 2 * time.Minute

// until repeats f until it returns true.
func until(ctx context.Context, p *process, what string, f func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		done, err := f()
		if done || err != nil {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w\n%s", p.name, what, ctx.Err(), p.log)
		}
	}
}

// complete waits until a process has a complete copy.
func complete(ctx context.Context, p *process) error {
	return until(ctx, p, "the copy is not complete", func() (bool, error) {
		r, err := p.ask(false, hydration)
		if err != nil {
			return false, err
		}
		var s struct {
			Hydration struct {
				Status   string
				Progress float64
			}
		}
		if err := json.Unmarshal([]byte(r.Text), &s); err != nil {
			return false, fmt.Errorf("%s: status %q: %w", p.name, r.Text, err)
		}
		return s.Hydration.Status == string(litestream.HydrationComplete) && s.Hydration.Progress == 100, nil
	})
}

// await waits until a process has the newest row.
func (b *bench) await(ctx context.Context, p *process) error {
	return until(ctx, p, "there are no news", func() (bool, error) {
		r, err := p.ask(false, newest)
		return r.Sum == b.rows, err
	})
}

// same compares the answer of a query in place with that on the file.
func same(p *process, query string, keys ...int64) error {
	got, err := p.ask(false, query, keys...)
	if err != nil {
		return err
	}
	want, err := p.ask(true, query, keys...)
	if err != nil {
		return err
	}
	if got.Sum != want.Sum || got.Text != want.Text {
		return fmt.Errorf("%s: wrong answer to %s: %d %q, want %d %q", p.name, query, got.Sum, got.Text, want.Sum, want.Text)
	}
	return nil
}

// use runs a small transaction now and then, for as long as polls are counted.
func (b *bench) use(ctx context.Context, p *process) error {
	for end := time.Now().Add(b.pollTime); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if _, err := p.ask(false, lookup, 1); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// disk returns how much processes have on the disk: files in their folder, and those
// without a name that they have open.
func (b *bench) disk(folder string, all []*process) (n int64, err error) {
	found := make(map[fileID]int64)
	for _, p := range all {
		if err := p.files(folder, found); err != nil {
			return 0, err
		}
	}
	named, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		return 0, err
	}
	for _, path := range named {
		if err := addFile(path, found); err != nil {
			return 0, err
		}
	}
	for _, size := range found {
		n += size
	}
	return n, nil
}

// compare has one process after the other run queries, in place and on the file by
// turns.
func (b *bench) compare(all []*process) ([]member, error) {
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([]int64, b.lookups)
	for i := range keys {
		keys[i] = 1 + rng.Int64N(b.rows)
	}
	var members []member
	for _, p := range all {
		m := member{name: p.name}
		var err error
		for _, q := range []struct {
			to    *comparison
			query string
			keys  []int64
		}{{&m.scan, scan, nil}, {&m.seeks, lookup, keys}} {
			if *q.to, err = p.compare(b.runs, q.query, q.keys); err != nil {
				return nil, err
			}
		}
		members = append(members, m)
	}
	for i, p := range all {
		var err error
		if members[i].memory, err = p.memory(); err != nil {
			return nil, err
		}
	}
	return members, nil
}

func (p *process) compare(runs int, query string, keys []int64) (comparison, error) {
	var place, plain []float64
	for run := range runs + 1 { // the first is not timed
		got, err := p.ask(false, query, keys...)
		if err != nil {
			return comparison{}, err
		}
		want, err := p.ask(true, query, keys...)
		if err != nil {
			return comparison{}, err
		}
		if got.Sum != want.Sum || got.Text != want.Text {
			return comparison{}, fmt.Errorf("%s: wrong answer to %s: %d %q, want %d %q", p.name, query, got.Sum, got.Text, want.Sum, want.Text)
		}
		if run > 0 {
			place, plain = append(place, got.Seconds), append(plain, want.Seconds)
		}
	}
	return comparison{median(place), median(plain)}, nil
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// memory returns the private memory of all members.
func (g *group) memory() (sum memory) {
	for _, m := range g.members {
		sum.clean += m.memory.clean
		sum.dirty += m.memory.dirty
	}
	return sum
}

func mb(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// print writes tables in Markdown.
func (r *result) print(w io.Writer) {
	fmt.Fprintf(w, "A database of %s, %v a request, polls every %v; %d runs.\n\n", mb(r.size), r.latency, r.poll, r.runs)
	groups := []struct {
		name string
		*group
	}{{"one process", &r.one}, {fmt.Sprintf("%d processes, one copy", len(r.all.members)), r.all}}
	if r.apart != nil {
		groups = append(groups, struct {
			name string
			*group
		}{fmt.Sprintf("%d processes, a copy each", len(r.apart.members)), r.apart})
	}
	fmt.Fprintf(w, "| | from storage | requests | complete after | on the disk | requests while polling for %v | news in all after | private memory | of it dirty |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n", r.pollTime)
	for _, g := range groups {
		m := g.memory()
		fmt.Fprintf(w, "| %s | %s | %d | %.2f s | %s | %d | %.2f s | %s | %s |\n", g.name, mb(g.opened.bytes), g.opened.requests, g.took.Seconds(), mb(g.disk),
			g.polls.requests, g.news.Seconds(), mb(m.clean+m.dirty), mb(m.dirty))
	}
	fmt.Fprintf(w, "\n| process | full scan | plain | | lookups | plain | | private memory | of it dirty |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, m := range r.all.members {
		fmt.Fprintf(w, "| %s | %.0f ms | %.0f ms | %.2fx | %.1f ms | %.1f ms | %.2fx | %s | %s |\n", m.name,
			1e3*m.scan.place, 1e3*m.scan.plain, m.scan.ratio(), 1e3*m.seeks.place, 1e3*m.seeks.plain, m.seeks.ratio(), mb(m.memory.clean+m.memory.dirty), mb(m.memory.dirty))
	}
}
