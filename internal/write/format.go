package write

import (
	"fmt"
	"sync"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/view"
)

// pageOneFormat holds bytes 18 and 19 of page 1 on the replica: the versions that
// say how the database is opened. Uploaded commits keep these bytes. It is safe
// for concurrent use.
type pageOneFormat struct {
	*Deps

	mu struct {
		sync.Mutex // duty: both
		bytes      [2]byte
		of         *view.State // state of the replica that bytes were read of
	}
}

// get returns the format.
func (f *pageOneFormat) get() [2]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.bytes
}

// isOf reports whether the format belongs to a state.
func (f *pageOneFormat) isOf(s *view.State) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.of == s
}

// set records the format of a state.
func (f *pageOneFormat) set(s *view.State, bytes [2]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.bytes, f.mu.of = bytes, s
}

// learn reads the format from the replica, unless it is that of the current state
// already.
func (f *pageOneFormat) learn() error {
	cur := f.Views.Current.Load()
	if cur.Commit == 0 || f.isOf(cur.State) {
		return nil
	}
	ctx, cancel := f.Tasks.WithTimeout(f.Opts.ReadTimeout)
	defer cancel()
	page, err := f.Pages.Page(ctx, cur, 1)
	if err != nil {
		return err
	}
	if _, err := dbheader.Check(page, cur.PageSize); err != nil {
		return fmt.Errorf("page 1 as of transaction %s: %w", cur.TXID, err)
	}
	f.set(cur.State, [2]byte(page[dbheader.OffWriteVersion:]))
	return nil
}
