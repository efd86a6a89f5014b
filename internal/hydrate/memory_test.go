package hydrate

import (
	"runtime"
	"testing"

	"github.com/ltxvfs/litestream/internal/view/viewtest"

	"github.com/ltxvfs/litestream/internal/view"
)

// TestPromise8_Hydration weighs what a hydration keeps, page by page, of a
// database of which nothing is local.
func TestPromise8_Hydration(t *testing.T) {
	const commit = 400_000
	file, index := viewtest.File(t, 1, 1, 4096, commit, viewtest.AllPages(4096, commit))
	v := viewtest.Advance(t, new(view.View), file, index)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	present := view.NewBitmap(commit)
	work := newCopyPlan(new(places), v, present, 8).batches()
	grown := int64(heap()) - int64(before)
	if perPage := float64(grown) / commit; perPage > 1 {
		t.Errorf("%.2f bytes a page, 10 GB of pages of 4 KiB are %.0f MB", perPage, perPage*2.6)
	}
	runtime.KeepAlive(work)
	runtime.KeepAlive(present)
	runtime.KeepAlive(v)
}
