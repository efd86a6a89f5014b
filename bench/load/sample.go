//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"syscall"
	"time"
)

// sample is what a process takes at a moment.
type sample struct {
	Memory      int64 // private memory in bytes, without mapped files
	Heap        int64 // bytes of the Go heap that the last collection found in use
	Goroutines  int
	Descriptors int
	CPU         time.Duration // since the process began
}

// take returns what this process takes.
func take() (s sample, err error) {
	if s.Memory, err = proc("self/smaps_rollup", "Anonymous:"); err != nil {
		return s, err
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	s.Heap, s.Goroutines = int64(live[0].Value.Uint64()), runtime.NumGoroutine()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return s, err
	}
	s.Descriptors = len(open) - 1 // the folder itself is open while it is read
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return s, err
	}
	s.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return s, nil
}

// settled returns what this process takes once memory that is not in use has gone
// back to the system.
func settled() (sample, error) {
	debug.FreeOSMemory()
	return take()
}

// proc returns a value of a file below /proc that has KiB in lines with names.
func proc(file, name string) (int64, error) {
	text, err := os.ReadFile("/proc/" + file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			var n int64
			if _, err := fmt.Sscan(rest, &n); err != nil {
				return 0, fmt.Errorf("/proc/%s: %q: %w", file, line, err)
			}
			return n << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/%s has no line %s", file, name)
}

// totalMemory returns the memory of the machine as a text.
func totalMemory() string {
	n, err := proc("meminfo", "MemTotal:")
	if err != nil {
		return "unknown"
	}
	return shown(float64(n)/(1<<20), "MiB")
}

// peaks watches the memory of this process until stop is called, which returns the
// largest sample of each kind.
func peaks() (stop func() (sample, error)) {
	ended := make(chan struct{})
	var watching sync.WaitGroup
	var most sample
	var failed error
	note := func() {
		s, err := take()
		if err != nil {
			failed = err
		}
		most.Memory, most.Heap = max(most.Memory, s.Memory), max(most.Heap, s.Heap)
		most.Goroutines, most.Descriptors = max(most.Goroutines, s.Goroutines), max(most.Descriptors, s.Descriptors)
	}
	watching.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				note()
			case <-ended:
				note()
				return
			}
		}
	})
	return func() (sample, error) {
		close(ended)
		watching.Wait()
		return most, failed
	}
}

// growth compares the means of the second and of the last quarter of some values.
// The first quarter is left out, because caches fill up in it.
func growth(values []float64) (second, last float64) {
	mean := func(values []float64) (sum float64) {
		for _, v := range values {
			sum += v
		}
		return sum / float64(max(1, len(values)))
	}
	n := len(values) / 4
	return mean(values[n : 2*n]), mean(values[len(values)-n:])
}

// flat adds the growth of what processes take, and fails unless that is bounded: by a
// tenth, and a bit more that depends on the moment at which a sample is taken.
func (r *report) flat(name string, values []float64, slack float64, unit string) {
	second, last := growth(values)
	r.add(name+", second quarter", second, unit)
	r.atMost(name+", last quarter", last, second*1.1+slack, unit)
}
