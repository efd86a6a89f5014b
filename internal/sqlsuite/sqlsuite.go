// Package sqlsuite is the suite of SQL tests that every binding of SQLite passes.
// It sees SQLite and the library only through database/sql: it opens databases by
// URI, runs statements and compares rows and result codes, many of them with what
// plain SQLite gives for the same statements. It imports no driver and needs no
// cgo.
//
// A binding has a test that says how to open a database:
//
//	func TestSuite(t *testing.T) {
//		sqlsuite.Run(t, sqlsuite.Binding{
//			New: func(t testing.TB, store sqlsuite.Store) sqlsuite.Instance {
//				vfs := litestream.NewVFS(nil, &litestream.Options{Logger: testlog.New(t, nil)})
//				name := register(t, vfs) // the VFS of this test alone
//				t.Cleanup(func() { vfs.Close(context.Background()) })
//				return sqlsuite.Instance{VFS: name, Open: func(uri string) (*sql.DB, error) { return sql.Open("sqlite3", uri) }}
//			},
//			Code: func(err error) int {
//				var e sqlite3.Error
//				errors.As(err, &e)
//				return int(e.Code)
//			},
//		}, sqlsuite.Folder())
//	}
//
// The VFS has neither a client nor a NewClient, so that a URI with a replica_url
// is a replica, and a URI without one is a local file. Every option comes from
// parameters of the URI. The driver must have the SQL functions of the library on
// each connection. For S3 there is another test, which calls Run with S3(t) and
// imports package s3.
//
// Run starts the cases in parallel. Each has instances and replicas of its own.
package sqlsuite

import (
	"context"
	"database/sql"
	"testing"
	"time"
)

// Binding is a binding of SQLite to the library, and what it cannot do. A field
// that begins with No is the reason why cases are skipped, empty if the binding can
// do everything.
type Binding struct {
	// New starts the library in a process, or as if it were one: two instances
	// share nothing but files. It ends with the test. A process gets the
	// environment variables of the store.
	New func(t testing.TB, store Store) Instance

	// Code returns SQLite's result code for an error of the driver, extended or
	// not, and 0 for an error that is not SQLite's.
	Code func(err error) int

	// NoPlainFunctions is why a connection whose main database does not use the VFS
	// has no functions.
	NoPlainFunctions string

	// NoChanges is why there is no table-valued function litestream_changes.
	NoChanges string

	// NoOpenReason is why an open that fails does not tell its cause.
	NoOpenReason string

	// NoLocalWAL is why a local file that is attached cannot be in WAL mode.
	NoLocalWAL string

	// NoEmptyValues is why a PRAGMA with an empty text as value is the same as one
	// without a value.
	NoEmptyValues string

	// NoSilentCommit is why a commit is not visible to other connections before
	// the lock is given back, with locking_mode=EXCLUSIVE, synchronous=OFF and a
	// journal in memory or none.
	NoSilentCommit string
}

// Instance is the library as one process has it.
type Instance struct {
	// Open opens a database by a URI of SQLite. The suite closes it.
	Open func(uri string) (*sql.DB, error)

	// VFS is the name of the library's VFS, which the suite puts into URIs.
	VFS string
}

// caseTimeout limits a case.
const caseTimeout = 2 * time.Minute

// Run runs the suite on a store: each case with a database that is read from the
// store, and most also with one that is hydrated. On S3 it leaves out cases that do not
// depend on the store.
func Run(t *testing.T, b Binding, store Store) {
	for _, g := range groups() {
		t.Run(g.name, func(t *testing.T) {
			for _, tc := range g.cases {
				if tc.near && store.isFar {
					continue
				}
				t.Run(tc.name, func(t *testing.T) {
					t.Run("remote", func(t *testing.T) { tc.test(t, b, store, false) })
					if !tc.once {
						t.Run("hydrated", func(t *testing.T) { tc.test(t, b, store, true) })
					}
				})
			}
		})
	}
}

// group is the cases of one subject.
type group struct {
	name  string
	cases []testCase
}

func groups() []group {
	return []group{
		{"read", readCases},
		{"follow", followCases},
		{"travel", travelCases},
		{"hydrate", hydrateCases},
		{"write", writeCases()},
		{"transactions", transactionCases},
		{"attach", attachCases},
		{"vacuum", vacuumCases},
		{"temporary", temporaryCases},
		{"errors", errorCases},
		{"functions", functionCases},
		{"changes", changesCases},
		{"reopen", reopenCases},
		{"script", scriptCases()},
	}
}

// testCase is one subject of the suite.
type testCase struct {
	name string
	skip func(Binding) string // returns why the binding skips the case, or ""
	once bool                 // it makes no difference whether databases are hydrated, or the case says it itself
	near bool                 // the case says hardly anything about the store, and runs on folders only
	run  func(*env)
}

func (tc testCase) test(t *testing.T, b Binding, store Store, hydrated bool) {
	t.Parallel()
	if tc.skip != nil {
		if reason := tc.skip(b); reason != "" {
			t.Skip(reason)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
	t.Cleanup(cancel)
	tc.run(&env{T: t, ctx: ctx, binding: b, store: store, hydrated: hydrated})
}
