package main

import (
	"flag"
	"fmt"
	"regexp"
	"runtime"
	"time"

	"github.com/ltxvfs/litestream/decorate"
)

// config determines what is measured and how.
type config struct {
	latency   time.Duration // latency of a request
	bandwidth float64       // of a stream, in bytes per second

	runs     int           // number of runs of each measurement; the median counts
	slow     time.Duration // systems other than ours that take longer run only once
	patience time.Duration // limit for all runs of one measurement

	frames bool // datasets have LZ4 frames instead of blocks

	blockRows, eventRows int
	largeRows            int // 0: no large dataset
	people               int
	fewFiles, manyFiles  int // numbers of files of level 0

	lookups   int
	rangeRows int
	conns     int

	pointPages []int // sizes of the databases for warm point queries
	pointTime  time.Duration
	indexPages int   // size of the database for measuring the index
	treePages  []int // sizes of the databases that are opened with a large index

	cacheSize      int64 // size of the measured caches
	smallPages     int   // size of the database with small pages for measuring the cache
	smallCacheSize int64

	commits       int // number of commits, one by one
	uploadLatency time.Duration
	uploadTime    time.Duration // duration of commits and reads during uploads
	uploadRows    int           // rows in the database during uploads
	bulkRows      int           // rows in one transaction
	syncs         int
	writers       int // connections with SyncOnCommit
	writerCommits int // commits per connection

	programSize  int // size argument of speedtest1
	programBlobs int // blobs in the database of kvtest

	binding binding // of ours

	only   *regexp.Regexp
	dir    string
	output string
}

func (c *config) shape() decorate.Latency {
	return decorate.Latency{PerRequest: c.latency, BytesPerSecond: c.bandwidth}
}

func fullConfig() config {
	return config{
		latency: 20 * time.Millisecond, bandwidth: 80e6,
		runs: 5, slow: 10 * time.Second, patience: 3 * time.Minute,
		blockRows: 225_000, eventRows: 600_000, people: 11_000,
		fewFiles: 30, manyFiles: 500,
		lookups: 1000, rangeRows: 1000, conns: 8,
		pointPages: []int{10_000, 250_000, 2_000_000}, pointTime: 300 * time.Millisecond,
		indexPages: 2_000_000, treePages: []int{2_600_000},
		cacheSize: 10 << 20, smallPages: 20_000, smallCacheSize: 2 << 20,
		commits: 1000, uploadLatency: 500 * time.Millisecond, uploadTime: 3 * time.Second, uploadRows: 10_000,
		bulkRows: 100_000, syncs: 20, writers: 16, writerCommits: 40,
		programSize: 100, programBlobs: 5000,
	}
}

// quickConfig is for the gate. It shows that everything runs, not how fast.
func quickConfig() config {
	return config{
		latency: time.Millisecond, bandwidth: 80e6,
		runs: 1, slow: time.Second, patience: 5 * time.Second,
		blockRows: 8_000, eventRows: 6_000, people: 100,
		fewFiles: 5, manyFiles: 20,
		lookups: 40, rangeRows: 50, conns: 4,
		pointPages: []int{1_000, 10_000}, pointTime: 10 * time.Millisecond,
		indexPages: 20_000, treePages: []int{60_000},
		cacheSize: 256 << 10, smallPages: 2_000, smallCacheSize: 128 << 10,
		commits: 100, uploadLatency: 50 * time.Millisecond, uploadTime: 200 * time.Millisecond, uploadRows: 1000,
		bulkRows: 2000, syncs: 5, writers: 4, writerCommits: 5,
		programSize: 5, programBlobs: 100,
	}
}

func parseFlags(args []string) (config, error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	full := fullConfig()
	var (
		quick   = fs.Bool("quick", false, "everything small: to see that it works")
		latency = fs.Duration("latency", full.latency, "`time` to the first byte of a request")
		mbps    = fs.Float64("bandwidth", full.bandwidth/1e6, "`MB/s` of each stream")
		runs    = fs.Int("runs", full.runs, "runs of each measurement, of which the median counts")
		slow    = fs.Duration("slow", full.slow, "what is not ours and takes longer is run once")
		wait    = fs.Duration("patience", full.patience, "no further run of a measurement after this `time`")
		format  = fs.String("format", "block", "of pages in the replicas: `block`, as Litestream v0.5.16 and later, or frame")
		large   = fs.Bool("large", false, "also a database of about 2 GB")
		bind    = fs.String("binding", "litestream", "how SQLite knows our VFS: `litestream`, which is litestream.RegisterVFS, or psanford")
		only    = fs.String("only", "", "only workloads whose name matches this `regexp`")
		dir     = fs.String("dir", "", "`folder` for datasets, which are removed at the end (default: the system's)")
		output  = fs.String("o", "", "put the tables between the markers in this `file`, too")
	)
	if err := fs.Parse(args); err != nil {
		return config{}, err
	}
	cfg := full
	if *quick {
		cfg = quickConfig()
	}
	// An explicit flag overrides -quick.
	fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "latency":
			cfg.latency = *latency
		case "bandwidth":
			cfg.bandwidth = *mbps * 1e6
		case "runs":
			cfg.runs = max(*runs, 1)
		case "slow":
			cfg.slow = *slow
		case "patience":
			cfg.patience = *wait
		}
	})
	if *large {
		cfg.largeRows = 10 * cfg.eventRows
		cfg.treePages = append(cfg.treePages, 10*cfg.treePages[0])
	}
	switch *format {
	case "block":
	case "frame":
		cfg.frames = true
	default:
		return config{}, fmt.Errorf("format %q: want block or frame", *format)
	}
	var ok bool
	if cfg.binding, ok = bindings[*bind]; !ok {
		return config{}, fmt.Errorf("binding %q: want litestream or psanford", *bind)
	}
	re, err := regexp.Compile(*only)
	if err != nil {
		return config{}, fmt.Errorf("flag -only: %w", err)
	}
	cfg.only, cfg.dir, cfg.output = re, *dir, *output
	return cfg, nil
}

func machine() string {
	return fmt.Sprintf("%s %s, %d cores, %s", runtime.GOARCH, runtime.GOOS, runtime.NumCPU(), runtime.Version())
}
