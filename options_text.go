package litestream

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/bytesize"
)

// settings are the options that a URI can set. They are comparable, so that
// a later open with others can be told.
type settings struct {
	pollInterval, pollIdleAfter            time.Duration
	cacheSize, readAheadSize               int64
	hedgeRequests                          bool
	openTimeout, readTimeout, closeTimeout time.Duration
	hydrationEnabled                       bool
	hydrationPath                          string
	hydrationConcurrency                   int
	hydrationRateLimit                     int64
	writeEnabled                           bool
	writeSyncInterval                      time.Duration
	writeBufferPath                        string
	writeBufferMaxSize                     int64
	syncOnCommit                           bool
	compacts                               bool
	compactionLevels                       string
	snapshotInterval, snapshotRetention    time.Duration
	l0Retention                            time.Duration
}

func (o Options) settings() settings {
	return settings{
		o.PollInterval, o.PollIdleAfter, o.CacheSize, o.ReadAheadSize, o.HedgeRequests, o.OpenTimeout, o.ReadTimeout, o.CloseTimeout,
		o.HydrationEnabled, o.HydrationPath, o.HydrationConcurrency, o.HydrationRateLimit,
		o.WriteEnabled, o.WriteSyncInterval, o.WriteBufferPath, o.WriteBufferMaxSize, o.SyncOnCommit,
		o.compacts(), fmt.Sprint(o.CompactionLevels), o.SnapshotInterval, o.SnapshotRetention, o.L0Retention,
	}
}

// optionSetters set the options that have a URI parameter, by its name.
var optionSetters = map[string]func(o *Options, value string) error{
	"poll_interval":         func(o *Options, s string) error { return setDuration(&o.PollInterval, s) },
	"poll_idle_after":       func(o *Options, s string) error { return setDuration(&o.PollIdleAfter, s) },
	"cache_size":            func(o *Options, s string) error { return setSize(&o.CacheSize, s) },
	"read_ahead_size":       func(o *Options, s string) error { return setSize(&o.ReadAheadSize, s) },
	"hedge_requests":        func(o *Options, s string) error { return setBool(&o.HedgeRequests, s) },
	"open_timeout":          func(o *Options, s string) error { return setDuration(&o.OpenTimeout, s) },
	"read_timeout":          func(o *Options, s string) error { return setDuration(&o.ReadTimeout, s) },
	"close_timeout":         func(o *Options, s string) error { return setDuration(&o.CloseTimeout, s) },
	"hydration_enabled":     func(o *Options, s string) error { return setBool(&o.HydrationEnabled, s) },
	"hydration_path":        func(o *Options, s string) error { return setString(&o.HydrationPath, s) },
	"hydration_concurrency": func(o *Options, s string) error { return setCount(&o.HydrationConcurrency, s) },
	"hydration_rate_limit":  func(o *Options, s string) error { return setSize(&o.HydrationRateLimit, s) },
	"write_enabled":         func(o *Options, s string) error { return setBool(&o.WriteEnabled, s) },
	"sync_interval":         func(o *Options, s string) error { return setDuration(&o.WriteSyncInterval, s) },
	"buffer_path":           func(o *Options, s string) error { return setString(&o.WriteBufferPath, s) },
	"buffer_max_size":       func(o *Options, s string) error { return setSize(&o.WriteBufferMaxSize, s) },
	"sync_on_commit":        func(o *Options, s string) error { return setBool(&o.SyncOnCommit, s) },
	"compaction_levels":     func(o *Options, s string) error { return setDurations(&o.CompactionLevels, s) },
	"snapshot_interval":     func(o *Options, s string) error { return setDuration(&o.SnapshotInterval, s) },
	"snapshot_retention":    func(o *Options, s string) error { return setDuration(&o.SnapshotRetention, s) },
	"l0_retention":          func(o *Options, s string) error { return setDuration(&o.L0Retention, s) },
	"compaction_enabled": func(o *Options, s string) error {
		o.CompactionEnabled = new(bool)
		return setBool(o.CompactionEnabled, s)
	},
}

// OptionNames returns the names of the options that Set knows, sorted.
func OptionNames() []string { return slices.Sorted(maps.Keys(optionSetters)) }

// Set sets an option by the name of its URI parameter, such as poll_interval, from
// text. It fails if there is none of that name, or if the text is malformed.
func (o *Options) Set(name, value string) error {
	set, ok := optionSetters[name]
	if !ok {
		return fmt.Errorf("no option %q", name)
	}
	return set(o, value)
}

// withParams returns o with what the parameters of a URI set. Parameters
// that are not options, as SQLite's own, are left alone.
func (o Options) withParams(params map[string]string) (Options, error) {
	for name, value := range params {
		if _, ok := optionSetters[name]; !ok {
			continue
		}
		if err := o.Set(name, value); err != nil {
			return o, fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return o, nil
}

func setDuration(p *time.Duration, s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("invalid duration %q, want one like 500ms or 1m30s", s)
	}
	*p = d
	return nil
}

// maxCompactionLevels is how many levels there are between 0 and snapshots.
const maxCompactionLevels = SnapshotLevel - 1

func setDurations(p *[]time.Duration, s string) error {
	var all []time.Duration
	for text := range strings.SplitSeq(s, ",") {
		var d time.Duration
		if err := setDuration(&d, strings.TrimSpace(text)); err != nil {
			return err
		}
		if d <= 0 || len(all) == maxCompactionLevels {
			return fmt.Errorf("invalid durations %q, want up to %d like 30s,5m,1h", s, maxCompactionLevels)
		}
		all = append(all, d)
	}
	*p = all
	return nil
}

func setBool(p *bool, s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return fmt.Errorf("invalid value %q, want true or false", s)
	}
	*p = b
	return nil
}

func setString(p *string, s string) error {
	*p = s
	return nil
}

func setCount(p *int, s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return fmt.Errorf("invalid number %q, want one like 8", s)
	}
	*p = n
	return nil
}

func setSize(p *int64, s string) error {
	n, err := bytesize.Parse(s)
	if err != nil {
		return err
	}
	*p = n
	return nil
}
