// Package litestream lets stock SQLite open a database in place on object
// storage.
//
// The database is stored there as LTX files, which a Litestream v0.5 primary or
// this package writes. Opening it downloads only the page indexes of these
// files. A query fetches the pages it reads. New transactions of the primary
// become visible within about a second, and a connection can read any past
// state that the files still contain.
//
//	db, err := litestream.Open("s3://backups/app", nil)
//
// Open and NewConnector are for one database. A program that opens many, or names
// them in SQL, registers a VFS:
//
//	vfs := litestream.NewVFS(nil)
//	litestream.RegisterVFS("litestream", vfs)
//	db, err := sql.Open("sqlite3", "file:app.db?vfs=litestream&replica_url=s3://backups/app")
//
// # Transactions
//
// A transaction reads one state of the database from its first read to its end,
// whatever the primary writes meanwhile. Reads wait only for storage, not for
// each other.
//
// # Writing
//
// With Options.WriteEnabled, connections can write. A commit is stored in local
// files, is visible to the whole process at once, and is uploaded to the
// replica a second later. A replica must have only one writer at a time. A
// writer that finds transactions of another writer on the replica gets
// ErrConflict.
//
// # Time travel
//
//	PRAGMA litestream_time = '5 minutes ago';
//	PRAGMA litestream_txid = '000000000000002a';
//	PRAGMA litestream_time = latest;
//
// These statements select the state that the next transactions of the
// connection read: the state at a point in time, the state after one
// transaction, or the newest state. SQL functions such as litestream_set_time(x)
// do the same.
//
// # Hydration
//
// With Options.HydrationEnabled, the whole database is copied to a local file
// in the background. Queries do not wait for the copy. A page is read from the
// local file once it is there, and from storage before.
//
// # Other files
//
// A VFS that was given a client serves the first file name with it. Other names,
// as in ATTACH or VACUUM INTO, are plain local files. SQLite opens these, and its
// temporary files, as it does without the VFS.
//
// # Limits
//
// A replica has no WAL mode and no memory-mapped I/O. The format has no checksum
// for a single page that is read by its index entry. Files that are read whole
// are verified.
package litestream
