package maintain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
)

// restorer writes the pages of a state to a partial file. Files are opened from the
// newest to the oldest one. A page of the state is in the first file that has it,
// unless a newer file has cut it off. So it is known from the indexes alone where
// each page comes from, and the parts of all files can be read in any order.
//
// If the partial file has pages of an earlier restore, the indexes are read before
// anything is written. A page is kept if it comes from the file, by name and
// checksum, that it came from then. It does not matter what became of other files:
// they may have been compacted, or another history may have taken their place.
type restorer struct {
	*session
	state   claims
	partial *partial
	sparse  bool
	avoid   []FileName // damaged files, which are not read
	kept    keptContents
	read    atomic.Int64
	resumed int64
}

// claims says which pages of a state come from which file.
type claims struct {
	header  ltx.Header   // of the newest file
	limit   uint32       // pages beyond were cut off by a newer file than the next one
	claimed *view.Bitmap // pages that come from the files opened so far
}

// add takes the next older file into account.
func (s *claims) add(c *content) error {
	if s.claimed == nil {
		s.header, s.limit, s.claimed = c.header, c.header.Commit, view.NewBitmap(c.header.Commit)
	}
	if c.header.PageSize != s.header.PageSize {
		return disagreement{fmt.Errorf("%w: page size is %d, but that of the state is %d", errs.ErrCorrupt, c.header.PageSize, s.header.PageSize)}
	}
	s.limit = min(s.limit, c.header.Commit)
	return nil
}

// wanted returns which pages of the next part come from it.
func (s *claims) wanted(p part) []bool {
	wanted := make([]bool, len(p.entries))
	for i, e := range p.entries {
		wanted[i] = e.Pgno <= s.limit && s.claimed.Set(e.Pgno)
	}
	return wanted
}

// keptContents are files that were opened to find out what is kept, as far as they
// have room in memory. One goroutine adds to them before they are read.
type keptContents struct {
	files     map[view.Key]*content
	checksums map[view.Key]ltx.Checksum // of all files
	bytes     int
}

// mostKept bounds the memory of keptContents, bytes.
const mostKept = 16 << 20

func (k *keptContents) add(c *content) {
	if k.files == nil {
		k.files, k.checksums = make(map[view.Key]*content), make(map[view.Key]ltx.Checksum)
	}
	key := view.KeyOf(c.info)
	k.checksums[key] = c.trailer.FileChecksum
	if k.bytes += len(c.tail) + len(c.body); k.bytes <= mostKept {
		k.files[key] = c
	}
}

// check returns an error if a file is another one than when its pages were counted.
func (k *keptContents) check(c *content) error {
	if sum, ok := k.checksums[view.KeyOf(c.info)]; ok && sum != c.trailer.FileChecksum {
		return fileError(c.info, errReplaced)
	}
	return nil
}

// errReplaced means that a file of the replica was replaced during a restore, which
// is to begin again.
var errReplaced = errors.New("its content was replaced meanwhile")

// size returns the size of the database in bytes.
func (r *restorer) size() int64 { return int64(r.state.header.Commit) * int64(r.state.header.PageSize) }

// run reads the files of a plan, and writes what the state has of them.
func (r *restorer) run(ctx context.Context, plan []*ltx.FileInfo) error {
	newest := slices.Clone(plan)
	slices.Reverse(newest)
	r.progress.expect(newest)
	if r.partial.resumes {
		if err := r.keep(ctx, newest); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * r.concurrency) // some wait for memory while others are read
	err := inOrder(gctx, 2*r.concurrency, newest, r.openFile, func(c *content) error {
		err := r.kept.check(c)
		if err == nil {
			err = fileError(c.info, r.state.add(c))
		}
		if err != nil {
			return err
		}
		return r.schedule(gctx, g, c)
	}, func(*content) {})
	if werr := g.Wait(); werr != nil {
		return werr // the error that has ended gctx
	}
	if err != nil {
		return err
	}
	if !r.partial.resumes {
		return nil
	}
	return r.partial.clear(int(r.state.header.PageSize), r.state.header.Commit, r.state.claimed.Has)
}

// openFile opens a file.
func (r *restorer) openFile(ctx context.Context, info *ltx.FileInfo) (*content, error) {
	if c := r.kept.files[view.KeyOf(info)]; c != nil {
		return c, nil
	}
	c, err := r.open(ctx, info, wholeSize)
	return c, fileError(info, err)
}

// keep finds out what an earlier restore has written of the files of a state, and
// keeps that.
func (r *restorer) keep(ctx context.Context, newest []*ltx.FileInfo) error {
	var state claims
	open := func(ctx context.Context, info *ltx.FileInfo) (*content, error) {
		c, err := r.open(ctx, info, wholeSize)
		return c, fileError(info, err)
	}
	parts := make(map[partOf]written)
	err := inOrder(ctx, 2*r.concurrency, newest, open, func(c *content) error {
		if err := state.add(c); err != nil {
			return fileError(c.info, err)
		}
		r.kept.add(c)
		c.parts(func(p part) bool {
			wanted := state.wanted(p)
			if sum, ok := r.partial.has(c, p.number, wanted); ok {
				parts[c.part(p.number)] = written{sum, wroteRuns(wanted)}
			}
			return true
		})
		return nil
	}, func(*content) {})
	if err != nil {
		return err
	}
	return r.partial.keep(parts)
}

// schedule reads the parts of a file in the background. It returns when all of
// them are under way. When the last one is read, the checksum is compared.
func (r *restorer) schedule(ctx context.Context, g *errgroup.Group, c *content) error {
	total := 0
	c.parts(func(part) bool { total++; return true })
	t := &tally{content: c, sums: make([]ltxio.Sum, total)}
	t.left.Store(int64(total))
	c.parts(func(p part) bool {
		wanted := r.state.wanted(p)
		if sum, ok := r.partial.has(c, p.number, wanted); ok {
			r.resumed += p.size()
			r.progress.add(Progress{Bytes: p.size()})
			g.Go(func() error { return r.partDone(t, p.number, sum) })
		} else {
			g.Go(func() error { return r.copyPart(ctx, t, p, wanted) })
		}
		return ctx.Err() == nil
	})
	if total == 0 {
		return fileError(c.info, c.check(nil))
	}
	return ctx.Err()
}

// tally collects the sums of a file's parts.
type tally struct {
	*content
	sums []ltxio.Sum  // each is written by the goroutine that has read the part
	left atomic.Int64 // parts that were not read yet
}

// copyPart reads a part and writes its wanted pages.
func (r *restorer) copyPart(ctx context.Context, t *tally, p part, wanted []bool) error {
	w := runs.Get().(*run)
	defer runs.Put(w)
	w.begin(r.partial, int(r.state.header.PageSize), r.sparse)
	i := 0
	sum, err := r.readPart(ctx, t.content, p, func(pgno uint32, page []byte) error {
		want := wanted[i]
		i++
		if pgno == 1 {
			if _, err := dbheader.Check(page, r.state.header.PageSize); err != nil {
				return err
			}
		}
		if !want {
			return nil
		}
		return w.add(pgno, page)
	})
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		return fileError(t.info, err)
	}
	r.read.Add(p.size())
	if err := r.partial.done(t.content, p.number, sum, wanted); err != nil {
		return err
	}
	return r.partDone(t, p.number, sum)
}

// partDone notes the sum of a part, and compares the checksum of the file after the
// last part.
func (r *restorer) partDone(t *tally, number int, sum ltxio.Sum) error {
	t.sums[number] = sum
	if t.left.Add(-1) > 0 {
		return nil
	}
	r.progress.add(Progress{Files: 1, Bytes: t.info.Size - t.frames()})
	return fileError(t.info, t.check(t.sums))
}

// frames returns the number of bytes of a file's frames.
func (c *content) frames() int64 { return c.info.Size - int64(len(c.head)) - int64(len(c.tail)) }

// run collects pages that follow each other and writes them at once.
type run struct {
	to       *partial
	pageSize int
	sparse   bool
	offset   int64
	data     []byte
}

// runSize is the most that is written at once, bytes.
const runSize = 256 << 10

var runs = sync.Pool{New: func() any { return new(run) }}

func (w *run) begin(to *partial, pageSize int, sparse bool) {
	*w = run{to: to, pageSize: pageSize, sparse: sparse, data: w.data[:0]}
}

// add adds a page.
func (w *run) add(pgno uint32, page []byte) error {
	offset := int64(pgno-1) * int64(w.pageSize)
	if len(w.data) > 0 && (offset != w.offset+int64(len(w.data)) || len(w.data)+len(page) > runSize) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.sparse && !w.to.resumes && isZero(page) {
		return w.flush()
	}
	if len(w.data) == 0 {
		w.offset = offset
	}
	w.data = append(w.data, page...)
	return nil
}

// flush writes the pages that were added.
func (w *run) flush() error {
	if len(w.data) == 0 {
		return nil
	}
	err := w.to.write(w.data, w.offset)
	w.data = w.data[:0]
	return err
}

var zeroPage [64 << 10]byte

func isZero(page []byte) bool { return bytes.Equal(page, zeroPage[:len(page)]) }
