package maintain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/compact"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// merge makes a file of what inputs hold, which follow each other, and reads it
// back. It reports whether it made the file: it does not replace one that exists.
func (s *session) merge(ctx context.Context, key view.Key, inputs []*ltx.FileInfo) (info *ltx.FileInfo, made bool, err error) {
	var failed error // of reading; the error of the upload hides it
	u := s.startUpload(ctx, key)
	for attempt := 1; ; attempt++ {
		var read int64
		m := s.merger(&read)
		info, err = s.store.Create(u.ctx, key, u.body(func(w io.Writer) error {
			failed = m.Merge(ctx, w, inputs)
			return failed
		}))
		isRead := failed != nil && !errors.Is(failed, io.ErrClosedPipe)
		if err == nil || isRead || errs.IsPermanent(err) || u.ctx.Err() != nil || attempt == uploads {
			break
		}
		s.progress.add(Progress{Bytes: -read})
	}
	err = u.end(err)
	switch {
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	case failed != nil && !errors.Is(failed, io.ErrClosedPipe):
		return nil, false, s.whyNot(ctx, inputs, failed)
	case errors.Is(err, fs.ErrExist):
		// Another process has made it, or an upload of this one whose reply was lost.
		if info, err = s.find(ctx, key); err != nil {
			return nil, false, err
		}
		return info, false, s.checkFile(ctx, info)
	case err != nil:
		return nil, false, err
	}
	s.progress.add(Progress{Files: len(inputs)})
	if err := s.checkFile(ctx, info); err != nil {
		if errors.Is(err, errs.ErrCorrupt) {
			// Files that are intact hold the same.
			err = errors.Join(fmt.Errorf("the new file is damaged as it is read back, and is deleted: %w", err), s.delete(ctx, key))
		}
		return nil, false, err
	}
	return info, true, nil
}

// merger returns a merger that adds what it reads to *read and to the progress. A
// large page index goes to the folder for temporary files.
func (s *session) merger(read *int64) *compact.Merger {
	return &compact.Merger{
		Load: s.load, Ahead: s.concurrency, SpillDir: os.TempDir(),
		Read: func(n int64) { s.progress.count(read, n) },
	}
}

// whyNot returns the error of a merge. If an input is damaged, the error names it.
func (s *session) whyNot(ctx context.Context, inputs []*ltx.FileInfo, failed error) error {
	if isGone(failed) {
		return failed
	}
	for _, f := range inputs {
		if err := s.checkFile(ctx, f); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return failed
}

// checkFile reads a file and compares its checksums.
func (s *session) checkFile(ctx context.Context, info *ltx.FileInfo) error {
	quiet := *s
	quiet.progress = new(progress)
	c, err := quiet.open(ctx, info, wholeSize)
	if err == nil {
		err = quiet.verify(ctx, c, func(uint32, []byte) error { return nil })
	}
	return fileError(info, err)
}

// delete deletes a file.
func (s *session) delete(ctx context.Context, key view.Key) error {
	ctx, cancel := s.within(ctx)
	defer cancel()
	return s.store.Delete(ctx, key)
}

// find lists a file that exists.
func (s *session) find(ctx context.Context, key view.Key) (*ltx.FileInfo, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	files, err := s.store.List(ctx, key.Level, key.MinTXID, false)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(files, func(f *ltx.FileInfo) bool { return view.KeyOf(f) == key })
	if i < 0 {
		return nil, fmt.Errorf("%s exists, but is not listed", key)
	}
	return files[i], nil
}

// SnapshotOptions are the options of Snapshot.
type SnapshotOptions struct {
	Requests

	// At is the state that the snapshot holds. The zero value is the newest one.
	At Moment
}

// Snapshotted says what Snapshot has done.
type Snapshotted struct {
	TXID  ltx.TXID `json:"txid"`  // last transaction of the state
	File  FileName `json:"file"`  // the snapshot
	Bytes int64    `json:"bytes"` // its size
	Made  bool     `json:"made"`  // false: it was there before
	Files int      `json:"files"` // LTX files that it was made of; 0 if it was there before
}

// Snapshot merges the files that give a state into a snapshot, so that the state can
// be had from one file. It reads them once and in parts, and takes memory for them
// that does not depend on their size. The snapshot appears as a whole, and is read
// back. What is there already is neither changed nor deleted, so Snapshot may run
// while programs write to the replica.
//
// If the state takes more than 4,096 files, snapshots of earlier states come first.
//
// The error wraps ErrCorrupt and names the file if a file is damaged that the state
// takes. After an error that leaves open what the store did, the snapshot may be
// there as a whole.
func Snapshot(ctx context.Context, client replica.Client, opts SnapshotOptions) (*Snapshotted, error) {
	result, err := newSession(client, opts.Requests).snapshot(ctx, opts.At)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return result, nil
}

func (s *session) snapshot(ctx context.Context, at Moment) (*Snapshotted, error) {
	for attempt := 1; ; attempt++ {
		files, err := s.list(ctx)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, s.nothing(ctx)
		}
		plan, err := s.plan(ctx, files, at)
		if err != nil {
			return nil, err
		}
		result, err := s.snapshotOf(ctx, plan)
		// Compaction may have replaced files by others since they were listed.
		if err == nil || !isGone(err) || attempt == listings {
			return result, err
		}
	}
}

// snapshotOf makes a snapshot of the state that the files of a plan give.
func (s *session) snapshotOf(ctx context.Context, plan []*ltx.FileInfo) (*Snapshotted, error) {
	last := plan[len(plan)-1]
	result := &Snapshotted{TXID: last.MaxTXID, Files: len(plan)}
	if len(plan) == 1 && last.Level == replica.SnapshotLevel {
		result.File, result.Bytes, result.Files = FileName(view.KeyOf(last)), last.Size, 0
		return result, nil
	}
	s.progress.expect(plan)
	for {
		inputs := plan[:min(len(plan), compact.MostInputs)]
		key := view.Key{Level: replica.SnapshotLevel, MinTXID: 1, MaxTXID: inputs[len(inputs)-1].MaxTXID}
		info, made, err := s.merge(ctx, key, inputs)
		if err != nil {
			return nil, err
		}
		if plan = plan[len(inputs):]; len(plan) == 0 {
			result.File, result.Bytes, result.Made = FileName(key), info.Size, made
			return result, nil
		}
		plan = slices.Insert(slices.Clone(plan), 0, info)
	}
}
