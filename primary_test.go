package litestream

import (
	"bytes"
	"slices"
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// counterPrimary is a primary after n transactions. The first one writes pages
// 1 to 3; each other one writes only page 2, which holds a counter.
func counterPrimary(t *testing.T, store ltxtest.Store, n int) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, store, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x); CREATE TABLE still (y); INSERT INTO t VALUES (1)")
	for range n - 1 {
		count(p)
	}
	return p
}

func count(p *ltxtest.Primary) ltx.TXID { return p.Exec("UPDATE t SET x = x + 1") }

// wantPages reads pages of a view and checks that they are as the primary had
// them.
func wantPages(t *testing.T, p *ltxtest.Primary, db *database, v *view.View, pgnos ...uint32) {
	t.Helper()
	image := slices.Collect(slices.Chunk(p.Image(v.TXID), p.PageSize()))
	for _, pgno := range pgnos {
		page, err := db.pages.Page(t.Context(), v, pgno)
		if err != nil {
			t.Errorf("page %d as of %s: %v", pgno, v.TXID, err)
		} else if !bytes.Equal(page, image[pgno-1]) {
			t.Errorf("page %d as of %s is not what the primary wrote", pgno, v.TXID)
		}
	}
}
