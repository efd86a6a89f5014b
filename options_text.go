package litestream

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/booltext"
	"github.com/ltxvfs/litestream/internal/bytesize"
	"github.com/ltxvfs/litestream/internal/nearest"
)

// option describes a field of Options that can be set from text or that has a
// range or a default.
type option struct {
	name  string             // name of the URI parameter; empty if there is none
	field string             // name of the field of Options
	def   any                // default value; nil if the zero value is the default
	in    limits             // range of a numeric value
	at    func(*Options) any // returns a pointer to the field
}

// optionTable lists the options in the order of their documentation. It defines
// the defaults, the ranges, the URI parameters, the environment variables, and
// the comparison with the options of an open database.
var optionTable = []option{
	{"poll_interval", "PollInterval", DefaultPollInterval, anyDuration, func(o *Options) any { return &o.PollInterval }},
	{"poll_idle_after", "PollIdleAfter", DefaultPollIdleAfter, anyDuration, func(o *Options) any { return &o.PollIdleAfter }},
	{"cache_size", "CacheSize", int64(DefaultCacheSize), limits{-1 << 40, 1 << 40}, func(o *Options) any { return &o.CacheSize }},
	{"index_size", "IndexSize", nil, limits{0, 1 << 40}, func(o *Options) any { return &o.IndexSize }},
	{"read_ahead_size", "ReadAheadSize", int64(DefaultReadAheadSize), limits{-64 << 30, 64 << 30}, func(o *Options) any { return &o.ReadAheadSize }},
	{"", "MaxConcurrentRequests", DefaultMaxConcurrentRequests, limits{-1 << 16, 1 << 16}, func(o *Options) any { return &o.MaxConcurrentRequests }},
	{"hedge_requests", "HedgeRequests", nil, limits{}, func(o *Options) any { return &o.HedgeRequests }},
	{"open_timeout", "OpenTimeout", DefaultOpenTimeout, anyDuration, func(o *Options) any { return &o.OpenTimeout }},
	{"read_timeout", "ReadTimeout", DefaultReadTimeout, anyDuration, func(o *Options) any { return &o.ReadTimeout }},
	{"close_timeout", "CloseTimeout", DefaultCloseTimeout, anyDuration, func(o *Options) any { return &o.CloseTimeout }},
	{"wait_for_replica", "WaitForReplica", nil, anyDuration, func(o *Options) any { return (*patience)(&o.WaitForReplica) }},
	{"close_delay", "CloseDelay", DefaultCloseDelay, anyDuration, func(o *Options) any { return &o.CloseDelay }},
	{"hydration_enabled", "HydrationEnabled", nil, limits{}, func(o *Options) any { return &o.HydrationEnabled }},
	{"hydration_mode", "HydrationMode", HydrateAll, limits{}, func(o *Options) any { return &o.HydrationMode }},
	{"hydration_path", "HydrationPath", nil, limits{}, func(o *Options) any { return &o.HydrationPath }},
	{"offline_after", "OfflineAfter", nil, anyDuration, func(o *Options) any { return &o.OfflineAfter }},
	{"hydration_concurrency", "HydrationConcurrency", DefaultHydrationConcurrency, limits{1, 1 << 10}, func(o *Options) any { return &o.HydrationConcurrency }},
	{"hydration_rate_limit", "HydrationRateLimit", nil, limits{-16 << 30, 16 << 30}, func(o *Options) any { return &o.HydrationRateLimit }},
	{"write_enabled", "WriteEnabled", nil, limits{}, func(o *Options) any { return &o.WriteEnabled }},
	{"sync_interval", "WriteSyncInterval", DefaultWriteSyncInterval, anyDuration, func(o *Options) any { return &o.WriteSyncInterval }},
	{"buffer_path", "WriteBufferPath", nil, limits{}, func(o *Options) any { return &o.WriteBufferPath }},
	{"buffer_max_size", "WriteBufferMaxSize", int64(DefaultWriteBufferMaxSize), limits{0, 1 << 50}, func(o *Options) any { return &o.WriteBufferMaxSize }},
	{"sync_on_commit", "SyncOnCommit", nil, limits{}, func(o *Options) any { return &o.SyncOnCommit }},
	{"compaction_disabled", "CompactionDisabled", nil, limits{}, func(o *Options) any { return &o.CompactionDisabled }},
	{"compaction_levels", "CompactionLevels", defaultCompactionLevels, positive, func(o *Options) any { return &o.CompactionLevels }},
	{"snapshot_interval", "SnapshotInterval", nil, anyDuration, func(o *Options) any { return &o.SnapshotInterval }},
	{"snapshot_retention", "SnapshotRetention", nil, anyDuration, func(o *Options) any { return &o.SnapshotRetention }},
	{"l0_retention", "L0Retention", DefaultL0Retention, anyDuration, func(o *Options) any { return &o.L0Retention }},
}

// patience is a duration of which 0 means none if it is text. As a field, none is
// a negative duration.
type patience time.Duration

// defaultCompactionLevels contains the levels of Litestream and one at the
// interval of Litestream's daily snapshots.
var defaultCompactionLevels = []time.Duration{30 * time.Second, 5 * time.Minute, time.Hour, 24 * time.Hour}

// maxCompactionLevels is the number of levels between level 0 and the snapshot
// level.
const maxCompactionLevels = SnapshotLevel - 1

// OptionNames returns the names of the options that Set accepts, in ascending
// order.
func OptionNames() []string {
	var names []string
	for _, opt := range optionTable {
		if opt.name != "" {
			names = append(names, opt.name)
		}
	}
	slices.Sort(names)
	return names
}

// findOption returns the option that a URI parameter sets. It returns false if
// there is none.
func findOption(name string) (option, bool) {
	i := slices.IndexFunc(optionTable, func(opt option) bool { return opt.name == name && name != "" })
	if i < 0 {
		return option{}, false
	}
	return optionTable[i], true
}

// Set sets an option from text by the name of its URI parameter, such as
// poll_interval. Durations are written as 500ms or 1m30s, sizes as 10485760,
// 10MB or 10MiB, booleans as true or false, yes or no, on or off, 1 or 0. Set returns
// an error that names the option if no option has that name, or if the text is
// malformed or out of range.
func (o *Options) Set(name, value string) error {
	opt, ok := findOption(name)
	if !ok {
		if meant := nearest.Of(name, OptionNames()); meant != "" {
			return fmt.Errorf("unknown option %q, did you mean %q?", name, meant)
		}
		return fmt.Errorf("unknown option %q", name)
	}
	if err := opt.set(o, value); err != nil {
		return fmt.Errorf("option %s: %w", name, err)
	}
	return nil
}

// withParams returns o with the options set that the parameters of a URI give.
// It ignores other parameters, such as SQLite's own.
func (o Options) withParams(params map[string]string) (Options, error) {
	for name, value := range params {
		opt, ok := findOption(name)
		if !ok {
			continue
		}
		if err := opt.set(&o, value); err != nil {
			return o, fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return o, nil
}

// setDefault replaces a zero value by the default of the option.
func (opt option) setDefault(o *Options) {
	switch at := opt.at(o).(type) {
	case *time.Duration:
		*at = cmp.Or(*at, valueOr(opt.def, *at))
	case *int64:
		*at = cmp.Or(*at, valueOr(opt.def, *at))
	case *int:
		*at = cmp.Or(*at, valueOr(opt.def, *at))
	case *HydrationMode:
		*at = cmp.Or(*at, valueOr(opt.def, *at))
	case *[]time.Duration:
		if *at == nil {
			*at = slices.Clone(valueOr(opt.def, *at))
		}
	}
}

// valueOr returns def, or other if def is nil.
func valueOr[T any](def any, other T) T {
	if def == nil {
		return other
	}
	return def.(T)
}

// text returns the value of the option in the format that Set accepts.
func (opt option) text(o Options) string {
	switch at := opt.at(&o).(type) {
	case *time.Duration:
		return at.String()
	case *patience:
		return time.Duration(max(0, *at)).String()
	case *int64:
		return bytesize.Format(*at)
	case *int:
		return strconv.Itoa(*at)
	case *bool:
		return strconv.FormatBool(*at)
	case *string:
		return strconv.Quote(*at)
	case *HydrationMode:
		return string(*at)
	case *[]time.Duration:
		texts := make([]string, len(*at))
		for i, d := range *at {
			texts[i] = d.String()
		}
		return strings.Join(texts, ",")
	}
	return ""
}

// checkSame returns an error that names an option in which o differs from open,
// the options of an open database. Both have their defaults applied.
func (o Options) checkSame(open Options) error {
	for _, opt := range optionTable {
		if asked, has := opt.text(o), opt.text(open); asked != has {
			return fmt.Errorf("it is open with other options: %s is %s, not %s", cmp.Or(opt.name, opt.field), has, asked)
		}
	}
	return nil
}

// validate returns an error that names the first field that is out of range.
func (o Options) validate() error {
	for _, opt := range optionTable {
		var err error
		switch value := opt.at(&o).(type) {
		case *time.Duration:
			err = opt.in.checkDuration(*value, value.String())
		case *patience:
			err = opt.in.checkDuration(time.Duration(*value), time.Duration(*value).String())
		case *int64:
			err = opt.in.checkSize(*value, strconv.FormatInt(*value, 10))
		case *int:
			err = opt.in.checkCount(int64(*value), strconv.Itoa(*value))
		case *[]time.Duration:
			err = opt.in.checkDurations(*value, fmt.Sprint(*value))
		case *HydrationMode:
			err = value.check()
		}
		if err != nil {
			return fmt.Errorf("option %s: %w", opt.field, err)
		}
	}
	if o.LocalFiles < 0 || int(o.LocalFiles) >= len(localFilesTexts) {
		return fmt.Errorf("option LocalFiles: invalid value %v, want all, existing or none", o.LocalFiles)
	}
	return nil
}

// set sets the option from text.
func (opt option) set(o *Options, s string) (err error) {
	quoted := strconv.Quote(s)
	switch at := opt.at(o).(type) {
	case *time.Duration:
		d, err := opt.in.parseDuration(s)
		return assign(at, d, err)
	case *patience:
		d, err := opt.in.parseDuration(s)
		if d <= 0 {
			d = -1 // one value for none, which text gives as 0s
		}
		return assign(at, patience(d), err)
	case *int64:
		n, perr := bytesize.Parse(s)
		if err = opt.in.checkSize(n, quoted); perr != nil {
			err = opt.in.sizeError(quoted)
		}
		return assign(at, n, err)
	case *int:
		n, perr := strconv.Atoi(s)
		if err = opt.in.checkCount(int64(n), quoted); perr != nil || n == 0 {
			err = opt.in.countError(quoted)
		}
		return assign(at, n, err)
	case *[]time.Duration:
		var all []time.Duration
		for text := range strings.SplitSeq(s, ",") {
			d, err := time.ParseDuration(strings.TrimSpace(text))
			if err != nil {
				return opt.in.durationsError(quoted)
			}
			all = append(all, d)
		}
		return assign(at, all, opt.in.checkDurations(all, quoted))
	case *bool:
		is, err := booltext.Parse(s)
		return assign(at, is, err)
	case *string:
		return assign(at, s, nil)
	case *HydrationMode:
		mode := HydrationMode(s)
		if s == "" {
			return mode.invalid() // as text, it does not stand for the default
		}
		return assign(at, mode, mode.check())
	}
	return fmt.Errorf("option %s cannot be set from text", opt.field)
}

// assign sets a field unless err is not nil. It returns err.
func assign[T any](field *T, value T, err error) error {
	if err == nil {
		*field = value
	}
	return err
}
