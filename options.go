package litestream

import (
	"cmp"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
)

// Defaults of the fields of Options.
const (
	DefaultPollInterval  = time.Second
	DefaultPollIdleAfter = time.Minute
	DefaultCacheSize     = 10 << 20
	DefaultReadAheadSize = 32 << 20
	DefaultOpenTimeout   = 30 * time.Second
	DefaultReadTimeout   = 30 * time.Second
	DefaultCloseDelay    = time.Minute
	DefaultCloseTimeout  = 30 * time.Second

	DefaultMaxConcurrentRequests = 128
	DefaultHydrationConcurrency  = 8

	DefaultWriteSyncInterval  = time.Second
	DefaultWriteBufferMaxSize = 1 << 30
	DefaultL0Retention        = 5 * time.Minute
)

// Options configures a VFS and its databases. The zero value of a field selects
// its default. A copy is made at the first use of the VFS; later changes have
// no effect.
//
// Most fields can also be set for one database by a URI parameter of its file
// name. The parameter is the name of the field in snake case (PollInterval is
// poll_interval), with three exceptions: WriteSyncInterval is sync_interval,
// WriteBufferPath is buffer_path and WriteBufferMaxSize is buffer_max_size.
// MaxConcurrentRequests, OnHydrationProgress, RequestPrices, Logger, NewClient,
// AllowParameter and LocalFiles have no parameter. OptionNames returns all parameters.
//
// Numbers and durations have limits far beyond useful values: a duration is at
// most 876000h, a hundred years. If a value is out of range, every open fails
// with an error that names the option.
type Options struct {
	// PollInterval is the time between two polls for new transactions. Default
	// 1s; negative: no polling.
	PollInterval time.Duration

	// PollIdleAfter is the time after the last transaction at which polling
	// stops. The next transaction starts it again, and waits for the result of
	// the first poll for at most one PollInterval. Default 1m; negative:
	// polling never stops.
	PollIdleAfter time.Duration

	// CacheSize limits the page cache of one database, in bytes. All
	// connections to the database share the cache. In addition, up to 1 MiB
	// records the structure of b-trees. Default 10 MiB; negative: no cache.
	CacheSize int64

	// IndexSize limits the page indexes of snapshots of one database that are in
	// memory, in bytes. Parts that were not used for the longest time are dropped,
	// and a page in a part that is not in memory takes a request more. Files of later
	// transactions are not counted: their indexes take some 16 bytes a page. Default
	// 0: no limit; an index takes about 5 bytes a page.
	IndexSize int64

	// ReadAheadSize limits the pages of one database that have been prefetched
	// for a scan and not used yet, in bytes. They are held in addition to the
	// cache, so that a scan does not evict cached pages, and only while a scan
	// runs. A transaction that looks up many rows at random has up to three
	// quarters of it for what lies near them, compressed. Without a cache there is
	// no read-ahead for scans. Default 32 MiB; negative: no read-ahead.
	ReadAheadSize int64

	// MaxConcurrentRequests limits the storage requests of a VFS that are in
	// flight at a time. Requests that SQLite waits for have priority over
	// read-ahead. Default 128; negative: no limit.
	MaxConcurrentRequests int

	// HedgeRequests sends a second request for a page if the first one takes
	// longer than 19 of 20 recent requests did. On average it sends at most
	// three second requests per hundred requests. Default false.
	HedgeRequests bool

	// OpenTimeout limits the first open of a database. ReadTimeout limits one
	// read by SQLite, one poll, and one change to another time. CloseTimeout
	// limits how long VFS.Close and the close of the last connection wait for
	// work in progress. The latter gives up earlier if no upload succeeds for a
	// sixth of that time, but at least 5s, and a second for each MiB of the upload.
	// Default 30s each; negative: no limit.
	OpenTimeout  time.Duration
	ReadTimeout  time.Duration
	CloseTimeout time.Duration

	// WaitForReplica limits how long the first open of a database waits for the
	// first files of a replica that has none yet, because its primary has not
	// uploaded them. It is a part of OpenTimeout. Where something else lies, such as
	// a replica of another kind or a SQLite database, an open fails at once. Write
	// mode does not wait either: where nothing of that kind lies it begins a new
	// database. Default: as long as OpenTimeout; negative, or 0 as text: the open
	// fails at once.
	WaitForReplica time.Duration

	// CloseDelay is the time that a database stays open after its last connection
	// was closed, so that a program with one connection for each task does not open
	// it anew each time. Meanwhile it makes no request. A database in write mode,
	// one that is hydrated to HydrationPath, and one that is still being copied
	// close at once. Default 1m; negative: at once.
	CloseDelay time.Duration

	// HydrationEnabled copies the database to a local file in the background
	// while queries run. A page is read from the local file as soon as it is
	// there. The copy starts with the first open of the database. Default
	// false.
	HydrationEnabled bool

	// HydrationMode determines which pages come to the local file. With
	// HydratePages these are the pages that queries fetch, and nothing is copied
	// in the background. It has no effect without HydrationEnabled. Default:
	// HydrateAll.
	HydrationMode HydrationMode

	// HydrationPath is the path of the local file. The file stays when the
	// process ends, and so do two files beside it that have the same name with the
	// suffixes "-hydration" and "-shared". The next process continues the copy. On
	// Linux and macOS, databases and processes that open one replica with the same
	// path share the file; otherwise the second one uses a temporary file. An
	// existing file without the one with the suffix "-hydration" is refused.
	// Default: an unnamed temporary file.
	HydrationPath string

	// OfflineAfter is how long the first open of a database waits for storage that
	// does not answer, if the local file at HydrationPath has every page of the
	// newest state that was known. Then the database is opened with that state, and
	// it follows the replica from when storage answers. Stats and the status say
	// that it is offline, and the lag is the time since the state was last known to
	// be the newest. As long as parts of files and of listings come, the open goes
	// on with storage, and a replica without files is never opened offline. Write
	// mode does not open offline. Default 0: an open waits for storage; so does a
	// negative value.
	OfflineAfter time.Duration

	// HydrationConcurrency is the number of requests that hydration makes at a
	// time. A request reads up to 1 MiB; up to 8 small requests count as one.
	// Default 8; at most 1024; a negative value is an error.
	HydrationConcurrency int

	// HydrationRateLimit limits how fast hydration reads from storage, in bytes
	// per second. Default: no limit, as if negative.
	HydrationRateLimit int64

	// OnHydrationProgress is called when hydration makes progress, often many
	// times a second. The calls for one database come from one goroutine, and
	// hydration waits for each call to return. Default nil: no calls.
	OnHydrationProgress func(HydrationProgress)

	// WriteEnabled allows connections to write. A commit is stored in a write
	// buffer, is visible to all connections of this process at once, and is
	// uploaded to the replica after WriteSyncInterval. An empty replica becomes
	// a new database. A replica must have only one writer at a time. PRAGMA
	// litestream_write_enabled changes the setting of an open database. Default
	// false.
	WriteEnabled bool

	// WriteSyncInterval is the time from a commit to the upload of all pending
	// commits. Its URI parameter is sync_interval. Default 1s; negative: only
	// PRAGMA litestream_sync, VFS.Sync and closing upload.
	WriteSyncInterval time.Duration

	// WriteBufferPath is the path prefix of the files that hold commits until
	// they are on the replica: the path is followed by a dash and a number. The
	// next process with the same path uploads what a killed process has left.
	// Two databases must not have the same path, and an existing file that is
	// not part of a write buffer is refused. Its URI parameter is buffer_path.
	// Default: temporary files, which are lost with the process.
	WriteBufferPath string

	// WriteBufferMaxSize limits the pages of commits that are not on the
	// replica yet, in bytes. When the limit is reached, an attempt to write
	// returns SQLITE_BUSY. Its URI parameter is buffer_max_size. Default 1 GiB;
	// a negative value is an error.
	WriteBufferMaxSize int64

	// CompactionDisabled keeps the files that write mode creates: no file is
	// merged or deleted. A snapshot is created only to replace files that are
	// missing. Default false.
	CompactionDisabled bool

	// CompactionLevels are the times after which the files of a level are
	// merged into one file of the next level, starting with level 0. There are
	// at most 8. Default 30s, 5m, 1h and 24h.
	CompactionLevels []time.Duration

	// SnapshotInterval is the time after which a file of the whole database, a
	// snapshot, is created if the database has changed. Independent of it, a
	// snapshot is created when the files above the newest one are together
	// larger than it, or more than 1,000 in number, so that an open and a
	// restore read at most about twice the size of the database. Default:
	// SnapshotRetention if that is set; otherwise only the latter rule applies.
	// Negative: no snapshot is created except in place of files that are missing,
	// and SnapshotRetention deletes nothing.
	SnapshotInterval time.Duration

	// SnapshotRetention is how long snapshots and the files between them are
	// kept. It determines how far back a connection can travel in time. The
	// newest snapshot that is older is kept with the files after it, because
	// the states since then need it. What is older is deleted when a snapshot
	// is created. This also applies to files of a Litestream primary that wrote
	// to the replica before. Default: for ever, as if negative.
	SnapshotRetention time.Duration

	// L0Retention is how long a file of level 0 is kept after its creation,
	// once a file of level 1 contains the same transactions. Default 5m;
	// negative: for ever.
	L0Retention time.Duration

	// SyncOnCommit makes COMMIT return only when the replica has the commit.
	// Concurrent commits of several connections share an upload. If COMMIT
	// fails because the replica cannot be reached, the commit is in the write
	// buffer nevertheless. With PRAGMA locking_mode=EXCLUSIVE, COMMIT does not
	// wait. A transaction that writes to several attached databases fails at
	// COMMIT if one of them has SyncOnCommit, and is rolled back, because SQLite
	// would not report that an upload has failed. BEGIN IMMEDIATE and EXCLUSIVE
	// begin to write in every attached database that is not read-only. Default false.
	SyncOnCommit bool

	// RequestPrices are the prices at which Stats estimates what requests cost.
	// Default: those of S3 Standard in us-east-1, and nothing for a local folder.
	RequestPrices RequestPrices

	// Logger receives the log messages of the VFS. Default slog.Default().
	Logger *slog.Logger

	// NewClient returns the client for a database, given its file name. It is
	// not used if the file name has the parameter replica_url. It is called
	// once each time a database is opened, not for every connection, and never
	// concurrently for the same database. If it returns a nil client without an
	// error, the name is a plain local file. Default nil: the client given to
	// NewVFS serves the first name that is opened, and other names are local
	// files.
	NewClient func(name string) (ReplicaClient, error)

	// AllowParameter reports whether SQL may set an option of this library,
	// either by a parameter of a file name, as in ATTACH, or by PRAGMA
	// litestream_write_enabled, which counts as the parameter write_enabled. It
	// is called for replica_url and for the names that OptionNames returns, but
	// not for SQLite's own parameters (vfs, mode, cache, ...) or unknown ones.
	// If it returns false, the open or the PRAGMA fails. It must be safe for
	// concurrent use. Default nil: everything is allowed.
	AllowParameter func(name, value string) bool

	// LocalFiles determines whether names without a replica may be plain local
	// files. Default: AllLocalFiles.
	LocalFiles LocalFiles

	// replicaURL is the URL that the client was made from, or empty if the
	// client was given without one.
	replicaURL string

	// onDisk is called before and after each operation of hydration and of the
	// write buffer on their files. If it returns an error, the operation fails.
	// Only tests set it.
	onDisk func(op string) error

	// clock tells the time of day. Tests set it, to give processes clocks that
	// differ. Nil means time.Now.
	clock func() time.Time

	// neverWhole makes page indexes of all snapshots, however small, such that are
	// read as they are needed. Only tests set it.
	neverWhole bool
}

// HydrationMode determines which pages hydration brings to the local file.
type HydrationMode string

// The modes of hydration.
const (
	HydrateAll   = HydrationMode(hydrate.All)   // "all": every page, in the background
	HydratePages = HydrationMode(hydrate.Pages) // "pages": the pages that queries fetch
)

// check returns an error unless m is one of the modes. It accepts the empty mode,
// which selects the default.
func (m HydrationMode) check() error {
	switch m {
	case "", HydrateAll, HydratePages:
		return nil
	}
	return m.invalid()
}

func (m HydrationMode) invalid() error {
	return fmt.Errorf("invalid value %q, want %s or %s", string(m), HydrateAll, HydratePages)
}

// withDefaults returns o with every zero value replaced by its default.
// Negative values that have a meaning are kept.
func (o Options) withDefaults() Options {
	o.HydrationConcurrency, o.WriteBufferMaxSize = max(o.HydrationConcurrency, 0), max(o.WriteBufferMaxSize, 0)
	o.SnapshotRetention = max(o.SnapshotRetention, 0)
	// Without snapshots, files would never be old enough to be deleted.
	o.SnapshotInterval = cmp.Or(o.SnapshotInterval, o.SnapshotRetention)
	for _, opt := range optionTable {
		opt.setDefault(&o)
	}
	if o.WaitForReplica == 0 && o.OpenTimeout < 0 {
		o.WaitForReplica = century
	}
	o.WaitForReplica = cmp.Or(o.WaitForReplica, o.OpenTimeout)
	o.CompactionLevels = o.CompactionLevels[:min(len(o.CompactionLevels), maxCompactionLevels)]
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.clock == nil {
		o.clock = time.Now
	}
	return o
}

// withAbsolutePaths returns the options with paths that do not depend on the working
// folder, which a program may change while a database is open.
func (o Options) withAbsolutePaths() Options {
	for _, path := range []*string{&o.HydrationPath, &o.WriteBufferPath} {
		if *path == "" {
			continue
		}
		if abs, err := filepath.Abs(*path); err == nil { // otherwise the open of the file tells
			*path = abs
		}
	}
	return o
}
