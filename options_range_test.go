package litestream_test

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// outOfRange are texts of numbers that no option accepts, whatever its unit is.
var outOfRange = []string{
	"9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809", "99999999999999999999999999",
	"9223372036854775807ns", "-9223372036854775808ns", "9223372036854775808ns", "2562048h", "876000h1ns", "-876000h0m0.000000001s",
	"9223372036854775807GiB", "8388607TiB", "9223372TB", "-8388608TiB", "1e30", "NaN", "Inf", "0x10", "",
}

// TestOptions_Range checks that every number and duration has a range. A value
// outside it is an error that names the option, the value and the range, in
// whichever way it is given.
func TestOptions_Range(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	var log testlog.Buffer
	vfsName, vfs := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log)})
	numbers := map[string][]string{} // least and greatest value by option
	for _, name := range litestream.OptionNames() {
		if err := new(litestream.Options).Set(name, "true"); err == nil {
			continue // the option is not a number
		}
		if err := new(litestream.Options).Set(name, "all"); err == nil {
			continue // it is one of some words
		}
		numbers[name] = nil
		for _, text := range append(outOfRange, "1ns,"+outOfRange[0]) {
			err := new(litestream.Options).Set(name, text)
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", text)) || !strings.Contains(err.Error(), " to ") {
				t.Errorf("%s=%s: %v", name, text, err)
				continue
			}
			bounds := strings.Fields(err.Error()[strings.LastIndex(err.Error(), " from ")+len(" from "):])
			numbers[name] = []string{bounds[0], bounds[2]}
		}
	}
	if len(numbers) < 15 {
		t.Fatalf("only %d options are numbers: %v", len(numbers), numbers)
	}
	for name, bounds := range numbers {
		failsToOpen(t, vfsName, "app.db", &log, "parameter "+name+": invalid ", name+"="+outOfRange[0])
		for _, text := range bounds {
			if err := new(litestream.Options).Set(name, text); err != nil {
				t.Errorf("%s=%s: %v", name, text, err)
			}
		}
	}
	if n := len(vfs.Stats()); n != 0 {
		t.Errorf("%d databases", n)
	}
}

// TestOptions_Booleans sets each boolean option by every word for true and false.
func TestOptions_Booleans(t *testing.T) {
	booleans := 0
	for _, name := range litestream.OptionNames() {
		before := new(litestream.Options)
		if before.Set(name, "1s") == nil || before.Set(name, "true") != nil || before.Set(name, "maybe") == nil {
			continue // the option is not a boolean
		}
		booleans++
		var on, off litestream.Options
		if err := on.Set(name, "true"); err != nil {
			t.Fatal(err)
		}
		for word, want := range map[string]litestream.Options{"yes": on, "ON": on, "1": on, "no": off, "Off": off, "0": off, "f": off} {
			got := on
			if reflect.DeepEqual(want, on) {
				got = off
			}
			if err := got.Set(name, word); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s=%s: %+v, %v", name, word, got, err)
			}
		}
	}
	if booleans < 5 {
		t.Errorf("%d options are booleans", booleans)
	}
}

// TestOptions_RangeEnds sets every number to an end of its range. A database
// then opens, is written to, hydrated, read and closed.
func TestOptions_RangeEnds(t *testing.T) {
	const century = 876000 * time.Hour
	for i, o := range []litestream.Options{
		{
			PollInterval: century, PollIdleAfter: century, CacheSize: 1 << 40, ReadAheadSize: 64 << 30, MaxConcurrentRequests: 1 << 16,
			OpenTimeout: century, ReadTimeout: century, CloseTimeout: century, HydrationConcurrency: 1024, HydrationRateLimit: 16 << 30,
			WriteSyncInterval: century, WriteBufferMaxSize: 1 << 50, CompactionLevels: []time.Duration{century, century, century, century, century, century, century, century},
			SnapshotInterval: century, SnapshotRetention: century, L0Retention: century,
		},
		{
			PollInterval: -century, PollIdleAfter: -century, CacheSize: -1 << 40, ReadAheadSize: -64 << 30, MaxConcurrentRequests: -1 << 16,
			OpenTimeout: -century, ReadTimeout: -century, CloseTimeout: -century, HydrationRateLimit: -16 << 30,
			WriteSyncInterval: -century, CompactionLevels: []time.Duration{1, 1, 1, 1, 1, 1, 1, 1},
			SnapshotInterval: -century, SnapshotRetention: -century, L0Retention: -century,
		},
		{PollInterval: 1, PollIdleAfter: 1, CacheSize: 1, ReadAheadSize: 1, MaxConcurrentRequests: 1, HydrationConcurrency: 1, WriteSyncInterval: 1, CompactionLevels: []time.Duration{}, L0Retention: 1},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			o.HydrationEnabled, o.WriteEnabled = true, true
			vfsName, _ := newVFS(t, memoryClient(), &o)
			conn := openConn(t, vfsName, "app.db")
			mustExec(t, conn, "CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000))")
			mustExec(t, conn, "PRAGMA litestream_sync")
			waitFor(t, "hydration", func() bool { return mustQuery(t, conn, "PRAGMA litestream_hydration_status") == "complete" })
			if got := mustQuery(t, conn, "SELECT sum(length(x)) FROM t"); got != "100000" {
				t.Error(got)
			}
			if s := status(t, conn); s.LastError != nil {
				t.Errorf("last error: %+v", s.LastError)
			}
		})
	}
}

// TestOptions_RangeOfFields checks that a field of Options that is out of range
// makes every open fail.
func TestOptions_RangeOfFields(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	for _, c := range []struct {
		set  func(*litestream.Options)
		want string
	}{
		{func(o *litestream.Options) { o.PollInterval = math.MaxInt64 }, "PollInterval: invalid duration 2562047h47m16.854775807s, want one like 500ms or 1m30s, from -876000h to 876000h"},
		{func(o *litestream.Options) { o.ReadTimeout = math.MinInt64 }, "ReadTimeout: invalid duration -2562047h47m16.854775808s"},
		{func(o *litestream.Options) { o.CacheSize = math.MaxInt64 }, "CacheSize: invalid size 9223372036854775807, want one like 10485760, 10MB or 10MiB, from -1TiB to 1TiB"},
		{func(o *litestream.Options) { o.HydrationConcurrency = math.MaxInt }, "HydrationConcurrency: invalid number 9223372036854775807, want one from 1 to 1024"},
		{func(o *litestream.Options) { o.HydrationConcurrency = -1 }, "HydrationConcurrency: invalid number -1"},
		{func(o *litestream.Options) { o.MaxConcurrentRequests = math.MaxInt }, "MaxConcurrentRequests: invalid number 9223372036854775807, want one from -65536 to 65536"},
		{func(o *litestream.Options) { o.WriteBufferMaxSize = -1 }, "WriteBufferMaxSize: invalid size -1"},
		{func(o *litestream.Options) { o.CompactionLevels = make([]time.Duration, 2) }, "CompactionLevels: invalid durations"},
		{func(o *litestream.Options) { o.CompactionLevels = []time.Duration{time.Second, math.MaxInt64} }, "CompactionLevels: invalid durations"},
		{func(o *litestream.Options) { o.CompactionLevels = []time.Duration{1, 1, 1, 1, 1, 1, 1, 1, 1} }, "CompactionLevels: invalid durations"},
		{func(o *litestream.Options) { o.LocalFiles = 3 }, "LocalFiles: invalid value LocalFiles(3), want all, existing or none"},
	} {
		var log testlog.Buffer
		o := litestream.Options{Logger: testlog.New(t, &log)}
		c.set(&o)
		vfsName, _ := newVFS(t, client, &o)
		failsToOpen(t, vfsName, "app.db", &log, "option "+c.want)
	}
}

// TestPragmas_Range sets PRAGMAs to the extreme values of their types. They are
// errors, and none causes a panic.
func TestPragmas_Range(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	var log testlog.Buffer
	vfsName, _ := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log)})
	conn := openConn(t, vfsName, "app.db")
	for pragma, values := range map[string][]string{
		"litestream_txid":          {"0", "0000000000000000", "ffffffffffffffff", "7fffffffffffffff", "8000000000000000", "8000000000000001", "fffffffffffffffe", "10000000000000000", "-1", "9223372036854775807"},
		"litestream_time":          {"@9223372036854775807", "@-9223372036854775808", "@9223372036854775808", "9223372036854775807 years ago", "9999999999999999999 ms ago", "292 years ago", "9999-12-31T23:59:60Z", "-9223372036854775807s", "1e30 days ago", "0001-01-01"},
		"litestream_write_enabled": {"2", "-1", "9223372036854775807", "9223372036854775808"},
	} {
		for _, value := range values {
			if _, err := queryText(conn, "PRAGMA "+pragma+" = '"+value+"'"); err == nil {
				t.Errorf("%s = %s: no error", pragma, value)
			}
			if got := at(t, conn); got != "1" {
				t.Errorf("%s = %s: reads %s", pragma, value, got)
			}
		}
	}
	for _, params := range []string{"nolock=9223372036854775808", "immutable=-9223372036854775808", "nolock=99999999999999999999"} {
		if got := at(t, openConn(t, vfsName, "app.db", params)); got != "1" {
			t.Errorf("%s: reads %s", params, got)
		}
	}
	if strings.Contains(log.String(), "panic") {
		t.Error(log.String())
	}
}

// TestOptions_HydrationMode gives modes as text and as a field.
func TestOptions_HydrationMode(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	var log testlog.Buffer
	vfsName, _ := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log)})
	for _, text := range []string{"", "All", "page", "true"} {
		err := new(litestream.Options).Set("hydration_mode", text)
		if want := fmt.Sprintf("option hydration_mode: invalid value %q, want all or pages", text); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	failsToOpen(t, vfsName, "app.db", &log, "parameter hydration_mode: invalid value ", "hydration_mode=some")
	for _, mode := range []litestream.HydrationMode{litestream.HydrateAll, litestream.HydratePages} {
		var opts litestream.Options
		if err := opts.Set("hydration_mode", string(mode)); err != nil || opts.HydrationMode != mode {
			t.Errorf("%s: %v, %v", mode, opts.HydrationMode, err)
		}
	}
	vfsName, _ = newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log), HydrationMode: "everything"})
	failsToOpen(t, vfsName, "app.db", &log, "option HydrationMode: invalid value ")
}
