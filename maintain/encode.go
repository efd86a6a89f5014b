package maintain

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/ltxio"
)

// batchSize is how much of a database is compressed at a time, in bytes, but at least
// a page.
const batchSize = 256 << 10

// minBatches is the number of batches at least. While a store waits before it takes
// more, such as a large part of a file, this much is read and compressed meanwhile.
const minBatches = 32

// pageBatch is consecutive pages on their way to a file.
type pageBatch struct {
	first uint32 // page number
	pages []byte

	// Set before done is sent.
	frames []byte
	sizes  []int
	sum    ltxio.Sum
	err    error
	done   chan struct{}
}

// encode writes a snapshot of a database. It reads in the goroutine that calls it,
// writes in order in another one, and compresses in as many as there are processors.
func (s *session) encode(ctx context.Context, w io.Writer, header ltx.Header, src Source) error {
	if err := header.Validate(); err != nil {
		return err
	}
	b, err := header.MarshalBinary()
	if err != nil {
		return fmt.Errorf("marshal header: %w", err)
	}
	var sum ltxio.Sum
	sum.Add(b)
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write header: %w", err)
	}

	processors := runtime.GOMAXPROCS(0)
	perBatch := max(batchSize/int(header.PageSize), 1)
	free := make(chan *pageBatch, max(2*processors, minBatches)) // holds every batch that is not in use
	for range cap(free) {
		free <- &pageBatch{pages: make([]byte, 0, perBatch*int(header.PageSize)), done: make(chan struct{}, 1)}
	}
	work, order := make(chan *pageBatch, cap(free)), make(chan *pageBatch, cap(free))
	g, ctx := errgroup.WithContext(ctx)
	for range processors {
		g.Go(func() error {
			var enc ltxio.FrameEncoder
			for batch := range work {
				batch.compress(&enc, int(header.PageSize))
				batch.done <- struct{}{}
			}
			return nil
		})
	}
	var index ltxio.IndexEncoder
	g.Go(func() error {
		for batch := range order {
			<-batch.done
			if batch.err != nil {
				return batch.err
			}
			if _, err := w.Write(batch.frames); err != nil {
				return fmt.Errorf("write pages from %d: %w", batch.first, err)
			}
			sum = sum.Join(batch.sum)
			for i, size := range batch.sizes {
				index.Add(batch.first+uint32(i), size)
			}
			s.progress.add(Progress{Bytes: int64(len(batch.pages))})
			free <- batch
		}
		return nil
	})
	readErr := func() error {
		defer close(work)
		defer close(order)
		return readBatches(ctx, header, src, perBatch, free, func(batch *pageBatch) {
			order <- batch
			work <- batch
		})
	}()
	if err := g.Wait(); err != nil {
		return err
	}
	if readErr != nil {
		return readErr
	}
	tail, err := index.Tail(header, sum)
	if err != nil {
		return err
	}
	if _, err := w.Write(tail); err != nil {
		return fmt.Errorf("write page index: %w", err)
	}
	return nil
}

// readBatches reads a database into batches that are free, and passes each on.
func readBatches(ctx context.Context, header ltx.Header, src Source, perBatch int, free <-chan *pageBatch, pass func(*pageBatch)) error {
	lock, end := int64(header.LockPgno()), int64(header.Commit)+1
	for pgno := int64(1); pgno < end; {
		if pgno == lock {
			pgno++
			continue
		}
		next := min(pgno+int64(perBatch), end)
		if pgno < lock {
			next = min(next, lock)
		}
		var batch *pageBatch
		select {
		case batch = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		batch.first, batch.pages = uint32(pgno), batch.pages[:int(next-pgno)*int(header.PageSize)]
		if err := readPages(ctx, src, batch.first, batch.pages, int(header.PageSize)); err != nil {
			return err
		}
		if pgno == 1 {
			if _, err := dbheader.Check(batch.pages, header.PageSize); err != nil {
				return err
			}
		}
		pass(batch)
		pgno = next
	}
	return nil
}

// readPages reads consecutive pages, all at once if the source can do that.
func readPages(ctx context.Context, src Source, first uint32, pages []byte, size int) error {
	if s, ok := src.(PagesSource); ok {
		if err := s.ReadPages(ctx, first, pages); err != nil {
			return fmt.Errorf("read pages from %d: %w", first, err)
		}
		return nil
	}
	for pgno := first; len(pages) > 0; pgno++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := src.ReadPage(ctx, pgno, pages[:size]); err != nil {
			return fmt.Errorf("read page %d: %w", pgno, err)
		}
		pages = pages[size:]
	}
	return nil
}

// compress makes the frames of a batch.
func (b *pageBatch) compress(enc *ltxio.FrameEncoder, pageSize int) {
	b.frames, b.sizes, b.sum, b.err = b.frames[:0], b.sizes[:0], ltxio.Sum{}, nil
	for i := range len(b.pages) / pageSize {
		page, at := b.pages[i*pageSize:(i+1)*pageSize], len(b.frames)
		if b.frames, b.err = enc.AppendFrame(b.frames, b.first+uint32(i), page); b.err != nil {
			return
		}
		b.sizes = append(b.sizes, len(b.frames)-at)
		b.sum.AddFrame(b.frames[at:], page)
	}
}
