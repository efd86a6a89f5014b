package maintain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// Point is a transaction with its time.
type Point struct {
	TXID ltx.TXID  `json:"txid"`
	Time time.Time `json:"time"`
}

// LevelInfo is what lies on one level of a replica.
type LevelInfo struct {
	Level   int      `json:"level"`
	Files   int      `json:"files"`
	Bytes   int64    `json:"bytes"`
	MinTXID ltx.TXID `json:"min_txid"`
	MaxTXID ltx.TXID `json:"max_txid"`
}

// Info describes a replica.
type Info struct {
	// Newest and Oldest are the newest and the oldest state that can be restored.
	Newest Point `json:"newest"`
	Oldest Point `json:"oldest"`

	// Moments is the number of states that can be restored.
	Moments int `json:"moments"`

	PageSize uint32 `json:"page_size"`
	Pages    uint32 `json:"pages"` // of the newest state
	Size     int64  `json:"size"`  // of the newest state, bytes

	Files  int         `json:"files"`  // LTX files
	Bytes  int64       `json:"bytes"`  // their size
	Levels []LevelInfo `json:"levels"` // those with files, in ascending order

	// Open is the number of files that make the newest state, and OpenBytes
	// their size. A restore reads that much.
	Open      int   `json:"open_files"`
	OpenBytes int64 `json:"open_bytes"`

	// Gap says which transactions are missing, if files after a gap cannot be
	// used. It is empty otherwise.
	Gap string `json:"gap,omitempty"`
}

// Inspect describes a replica. It takes one listing of all levels, and two small
// reads.
func Inspect(ctx context.Context, client replica.Client, req Requests) (*Info, error) {
	info, err := newSession(client, req).inspect(ctx)
	if err != nil {
		return nil, fmt.Errorf("inspect: %w", err)
	}
	return info, nil
}

func (s *session) inspect(ctx context.Context) (*Info, error) {
	for attempt := 1; ; attempt++ {
		files, err := s.list(ctx)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, s.nothing(ctx)
		}
		info, err := s.describe(ctx, files)
		switch {
		case attempt == listings:
			return info, err
		case err != nil && !isGone(err), err == nil && info.Gap == "":
			return info, err
		}
		// The listings of the levels are not of one moment: a file that was merged and
		// deleted in between looks like a gap.
	}
}

// describe describes a replica with some files.
func (s *session) describe(ctx context.Context, files []*ltx.FileInfo) (*Info, error) {
	info := &Info{Files: len(files)}
	var levels [view.Levels]LevelInfo
	for _, f := range files {
		l := &levels[f.Level]
		if l.Files++; l.Files == 1 || f.MinTXID < l.MinTXID {
			l.MinTXID = f.MinTXID
		}
		l.Level, l.Bytes, l.MaxTXID = f.Level, l.Bytes+f.Size, max(l.MaxTXID, f.MaxTXID)
		info.Bytes += f.Size
	}
	for _, l := range levels {
		if l.Files > 0 {
			info.Levels = append(info.Levels, l)
		}
	}
	if _, err := view.PlanLatest(0, files); err != nil {
		var gap *errs.MissingError
		if !errors.As(err, &gap) {
			return nil, err
		}
		info.Gap = err.Error()
	}
	var points []view.Point
	for _, p := range view.Points(files) {
		if p.Reachable {
			points = append(points, p)
		}
	}
	if info.Moments = len(points); info.Moments == 0 {
		return info, nil
	}
	oldest, newest := points[0], points[len(points)-1]
	plan, _ := view.Extend(0, newest.TXID, files)
	for _, f := range plan {
		info.Open++
		info.OpenBytes += f.Size
	}
	info.Oldest.TXID, info.Newest.TXID = oldest.TXID, newest.TXID
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		ms, err := s.timestamp(ctx, oldest.Dated())
		info.Oldest.Time = time.UnixMilli(ms).UTC()
		return err
	})
	g.Go(func() error {
		header, err := s.header(ctx, newest.Dated())
		info.Newest.Time = time.UnixMilli(header.Timestamp).UTC()
		info.PageSize, info.Pages, info.Size = header.PageSize, header.Commit, int64(header.PageSize)*int64(header.Commit)
		return err
	})
	return info, g.Wait()
}

// header reads the header of a file.
func (s *session) header(ctx context.Context, info *ltx.FileInfo) (header ltx.Header, err error) {
	err = s.inTurn(ctx, func(ctx context.Context) error {
		b, err := s.store.Header(ctx, info)
		if err == nil {
			header, err = ltxio.ParseHeader(b, info.MinTXID, info.MaxTXID)
		}
		return err
	})
	return header, fileError(info, err)
}

// History returns the states that can be restored, in ascending order, from a time
// on. The zero time means all of them. The times are those of the listing, which
// most stores know without reading the files.
func History(ctx context.Context, client replica.Client, since time.Time, req Requests) ([]Point, error) {
	s := newSession(client, req)
	points, err := s.history(ctx, since)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return points, nil
}

func (s *session) history(ctx context.Context, since time.Time) ([]Point, error) {
	files, err := s.listDated(ctx)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, s.nothing(ctx)
	}
	all, err := s.datedMoments(ctx, files)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(p Point) bool { return p.Time.Before(since) }), nil
}
