package litestream

import (
	"cmp"
	"log/slog"
	"time"
)

// Defaults of Options.
const (
	DefaultPollInterval  = time.Second
	DefaultPollIdleAfter = time.Minute
	DefaultCacheSize     = 10 << 20
	DefaultReadAheadSize = 32 << 20
	DefaultOpenTimeout   = 30 * time.Second
	DefaultReadTimeout   = 30 * time.Second
	DefaultCloseTimeout  = 30 * time.Second

	DefaultMaxConcurrentRequests = 128
	DefaultHydrationConcurrency  = 8

	DefaultWriteSyncInterval  = time.Second
	DefaultWriteBufferMaxSize = 1 << 30
	DefaultL0Retention        = 5 * time.Minute
)

// Options of a VFS and its databases. The zero value of each field is its
// default. A URI parameter of a field's name in snake case (poll_interval,
// cache_size, ...) sets it for one database. Numbers and durations have ranges, far
// beyond what is of use; one that is out of range makes every open fail.
type Options struct {
	// PollInterval is the time between looks for new transactions. Default
	// 1s; negative: never look.
	PollInterval time.Duration

	// PollIdleAfter is how long after the last transaction polling goes to
	// sleep. The next transaction wakes it, and waits up to one PollInterval for the
	// news. Default 1m; negative: never sleep.
	PollIdleAfter time.Duration

	// CacheSize bounds the page cache of one database, in bytes. All
	// connections share it. Beside it, up to 1 MiB notes how b-trees hang
	// together. Default 10 MiB; negative: no cache.
	CacheSize int64

	// ReadAheadSize bounds the pages of one database that were read ahead of
	// a scan and not used yet, in bytes. They come on top of the cache, which
	// a scan does not displace, and only while one runs. Default 32 MiB;
	// negative: no read-ahead. There is none without a cache.
	ReadAheadSize int64

	// MaxConcurrentRequests bounds the requests of a VFS that are under way
	// at a time. Those that SQLite waits for go before read-ahead. Default
	// 128; negative: no limit.
	MaxConcurrentRequests int

	// HedgeRequests makes a second request for a page when the first takes
	// longer than 19 of 20 lately did, for three in a hundred at most. Default false.
	HedgeRequests bool

	// OpenTimeout bounds the first open of a database, ReadTimeout a read by
	// SQLite, CloseTimeout the wait for what is under way when the last
	// connection closes. Default 30s each; negative: no limit.
	OpenTimeout  time.Duration
	ReadTimeout  time.Duration
	CloseTimeout time.Duration

	// HydrationEnabled copies the database to a local file in the background,
	// while queries run; pages are served from there as soon as they are. It
	// begins with the first open of the database.
	HydrationEnabled bool

	// HydrationPath is where the local file is, and stays when the process
	// ends, with a file of the same name and "-hydration" at its end beside it. The
	// next process goes on with it. A second database or process with the same
	// path uses a temporary file. A file without that beside it is refused.
	// Default: a temporary file without a name.
	HydrationPath string

	// HydrationConcurrency is how many requests hydration makes at a time, each of
	// up to 1 MiB; up to 8 small ones count as one. Default 8.
	HydrationConcurrency int

	// HydrationRateLimit bounds what hydration reads from storage, in bytes a
	// second. Default: no limit.
	HydrationRateLimit int64

	// OnHydrationProgress is called as hydration goes on, from one goroutine of
	// each database, many times a second at most times. Hydration waits for it
	// to return.
	OnHydrationProgress func(HydrationProgress)

	// WriteEnabled lets connections write. Commits are kept in a write buffer,
	// are seen by all connections of this process at once, and are on the replica after
	// WriteSyncInterval; an empty replica becomes a new database. There may be
	// one writer for a replica. PRAGMA litestream_write_enabled changes it for a database
	// that is open. Default false.
	WriteEnabled bool

	// WriteSyncInterval is the time from a commit to the upload of all there
	// are. Default 1s; negative: only PRAGMA litestream_sync, VFS.Sync and closing upload.
	WriteSyncInterval time.Duration

	// WriteBufferPath is where commits are kept until they are on the replica, in
	// files of that name with a dash and a number at the end. The next process
	// with the same path uploads what one that was killed has left. No two databases
	// may have the same, and a file that is not a write buffer's is refused.
	// Default: temporary files, which are lost with the process.
	WriteBufferPath string

	// WriteBufferMaxSize bounds the pages of commits that are not on the replica,
	// bytes. Beyond that, who wants to write gets SQLITE_BUSY. Default 1 GiB.
	WriteBufferMaxSize int64

	// CompactionDisabled leaves the files that write mode makes as they are: none
	// is merged, nothing is deleted, and no snapshot is made but to stand for
	// files that are missing. Default false.
	CompactionDisabled bool

	// CompactionLevels are the times after which files of each level are merged
	// into one of the next, from level 0 on; at most 8. Default 30s, 5m, 1h and
	// 24h.
	CompactionLevels []time.Duration

	// SnapshotInterval is the time after which a file of the whole database, a
	// snapshot, is made if the database has changed. Default: SnapshotRetention
	// if that is set, else none. A snapshot is always made when the files above
	// the newest one are together larger than it is, or more than 1,000, so that
	// an open and a restore read at most about twice the database. Negative:
	// no snapshot is ever made.
	SnapshotInterval time.Duration

	// SnapshotRetention is how long snapshots are kept, and the files between
	// them, including those of a Litestream primary that wrote to the replica
	// before: how far one can travel back. The newest snapshot stays. Default:
	// for ever, as if negative.
	SnapshotRetention time.Duration

	// L0Retention is how long files of level 0 are kept after they were made, once
	// a file of level 1 has the same transactions. Default 5m; negative: for ever.
	L0Retention time.Duration

	// SyncOnCommit has COMMIT return when the replica has the commit. Those of
	// several connections share an upload. If COMMIT fails for lack of the replica, the commit
	// is in the write buffer all the same. With PRAGMA locking_mode=EXCLUSIVE it does not wait.
	// Default false.
	SyncOnCommit bool

	// Logger gets what goes on. Default slog.Default().
	Logger *slog.Logger

	// NewClient gives the client for a database by its file name, where no
	// replica_url parameter does. It is called once for each open database,
	// and not concurrently for the same. A nil client without an error means
	// that the name is a plain local file's. Default: the client given to
	// NewVFS serves the first name that is opened, others are local files.
	NewClient func(name string) (ReplicaClient, error)

	// AllowParameter tells whether SQL may set an option of this library: by a
	// parameter of a file name, as in ATTACH, and by PRAGMA litestream_write_enabled,
	// which counts as the parameter write_enabled. It is asked about replica_url and the
	// names that OptionNames returns. The parameters that are SQLite's own (vfs, mode,
	// cache, ...) and unknown ones are not asked about. Where it returns false, the open
	// or the PRAGMA fails. It must be safe for concurrent use. Default nil: all.
	AllowParameter func(name, value string) bool

	// LocalFiles says whether names without a replica may be plain local files.
	// Default: AllLocalFiles.
	LocalFiles LocalFiles

	// replicaURL is the URL that the client was made from; empty: it came
	// without one.
	replicaURL string

	// onDisk is called before and after everything that hydration and the write buffer do to their
	// files, which fails if it does. Only tests set it.
	onDisk func(op string) error
}

// withDefaults returns o with every zero replaced by its default. Negative
// values stay, where they mean something.
func (o Options) withDefaults() Options {
	o.HydrationConcurrency, o.WriteBufferMaxSize = max(o.HydrationConcurrency, 0), max(o.WriteBufferMaxSize, 0)
	o.SnapshotRetention = max(o.SnapshotRetention, 0)
	// Without snapshots no file gets old enough to be deleted.
	o.SnapshotInterval = cmp.Or(o.SnapshotInterval, o.SnapshotRetention)
	for _, opt := range optionTable {
		opt.setDefault(&o)
	}
	o.CompactionLevels = o.CompactionLevels[:min(len(o.CompactionLevels), maxCompactionLevels)]
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}
