// Package litestream lets stock SQLite open a database in place on object
// storage.
//
// The database lies there as LTX files, written by a Litestream v0.5
// primary. Opening one downloads nothing but its page indexes; a query
// fetches the pages it reads. New transactions of the primary show within about a
// second, and a connection can look at any past moment that the files still hold.
//
//	client, err := litestream.NewReplicaClientFromURL("file:///var/backups/app")
//	vfs := litestream.NewVFS(client)
//	sqlite3vfs.RegisterVFS("litestream", vfs)
//	db, err := sql.Open("sqlite3", "file:app.db?vfs=litestream")
//
// # Transactions
//
// A transaction reads one state of the database, from its first read to its
// end, whatever the primary does meanwhile. Reads wait for storage only, and
// not for each other.
//
// # Writing
//
// With Options.WriteEnabled, connections write. A commit is kept in local files,
// is seen by the whole process at once, and is on the replica a second later. There is
// one writer for a replica: whoever finds that another has written gets ErrConflict.
//
// # Time travel
//
//	PRAGMA litestream_time = '5 minutes ago';
//	PRAGMA litestream_txid = '000000000000002a';
//	PRAGMA litestream_time = latest;
//
// These set what the connection's next transactions see: the newest
// transaction at or before a time, or an exact one. SQLite does not pass on
// the text of a PRAGMA's error: it is in the log, and in litestream_status. RegisterFunctions
// offers the same as SQL functions.
//
// # Hydration
//
// With Options.HydrationEnabled, the whole database comes to a local file in
// the background. Queries need not wait for that: each page is served from
// there once it is, and from storage before.
//
// # Other files
//
// Temporary files are kept in memory and, when they grow, in unlinked files.
// A VFS that was given one client serves the first file name with it; other names, as
// in ATTACH or VACUUM INTO, are plain local files.
//
// # Limits
//
// There is no WAL mode and no memory map. A page read by its index entry has
// no checksum in the format; files that are read whole are verified.
package litestream
