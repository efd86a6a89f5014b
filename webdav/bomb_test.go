package webdav

import (
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"
)

// peakOf returns the peak of the heap while a function runs, in bytes.
func peakOf(run func()) (peak uint64) {
	defer debug.SetGCPercent(debug.SetGCPercent(30)) // what is garbage does not count
	debug.FreeOSMemory()
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			metrics.Read(samples)
			peak = max(peak, samples[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	run()
	close(done)
	wg.Wait()
	return peak
}

// A listing of empty elements takes little more memory than its text.
func TestParseEntries_Bomb(t *testing.T) {
	const size = 2 << 20
	for name, test := range map[string]struct{ begin, unit, end string }{
		"properties": {"<response><href>/app/</href>", "<propstat/>", "</response>"},
		"names":      {"<response><href>/app/</href>", "<href>a</href>", "</response>"},
	} {
		content := []byte(`<multistatus xmlns="DAV:">` + test.begin + strings.Repeat(test.unit, size/len(test.unit)) + test.end + "</multistatus>")
		peak := peakOf(func() {
			if _, err := parseEntries("/app", content); err == nil {
				t.Errorf("%s: no error", name)
			}
		})
		if peak > 10*size {
			t.Errorf("%s: %d MB for %d MB of text", name, peak>>20, len(content)>>20)
		}
	}
}
