package main_test

import (
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/ltxvfs/litestream/internal/sqlsuite"
	"github.com/ltxvfs/litestream/internal/sqlsuite/remote"
	"github.com/ltxvfs/litestream/internal/testlog"
	_ "github.com/ltxvfs/litestream/s3" // registers its URLs
)

// TestSuite runs the suite of all bindings in processes of Python that load the
// extension.
func TestSuite(t *testing.T) {
	t.Run("folder", func(t *testing.T) { runSuite(t, sqlsuite.Folder()) })
	t.Run("s3", func(t *testing.T) { runSuite(t, sqlsuite.S3(t)) })
}

func runSuite(t *testing.T, store sqlsuite.Store) {
	processes := &pool{t: t, extension: extension(t), env: store.Env}
	sqlsuite.Run(t, sqlsuite.Binding{
		New: func(t testing.TB, _ sqlsuite.Store) sqlsuite.Instance {
			p := processes.get(t)
			return sqlsuite.Instance{VFS: "litestream", Open: func(uri string) (*sql.DB, error) {
				return sql.OpenDB(p.Connector(uri)), nil
			}}
		},
		Code: func(err error) int {
			var e *remote.Error
			if !errors.As(err, &e) {
				return 0
			}
			return e.Code
		},
	}, store)
}

// pool is processes that have loaded the extension. A case gets one that no other
// case uses at the time, and that has no database open.
type pool struct {
	t         *testing.T
	extension string
	env       []string

	mu   sync.Mutex
	free []*process // guarded by mu
}

// process is a process and what it has written to standard error.
type process struct {
	*remote.Process
	log *testlog.Buffer
}

// get returns a process for a test.
func (l *pool) get(t testing.TB) *process {
	t.Helper()
	l.mu.Lock()
	var p *process
	if n := len(l.free); n > 0 {
		p, l.free = l.free[n-1], l.free[:n-1]
	}
	l.mu.Unlock()
	if p == nil {
		p = l.start(t)
	}
	before := len(p.log.String())
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.log.String()[before:])
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.free = append(l.free, p)
	})
	return p
}

// start starts a process that lives as long as the pool.
func (l *pool) start(t testing.TB) *process {
	t.Helper()
	cmd := commandWithin(l.t, hostTimeout, append([]string{"LITESTREAM_LOG_LEVEL=debug"}, l.env...), remote.Python, remote.Args(l.extension)...)
	p := &process{log: new(testlog.Buffer)}
	cmd.Stderr = p.log
	var err error
	if p.Process, err = remote.Start(cmd); err != nil {
		t.Fatalf("start: %v\n%s", err, p.log)
	}
	l.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			l.t.Errorf("end of a process: %v\n%s", err, p.log)
		}
	})
	return p
}
