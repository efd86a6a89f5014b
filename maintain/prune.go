package maintain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// ErrInUse means that a program seems to write to a replica.
var ErrInUse = errors.New("a program seems to write to the replica")

// PruneOptions are the options of Prune.
type PruneOptions struct {
	Requests

	// Keep says which states are kept. It is an error if it says nothing.
	Keep Keep

	// DryRun deletes nothing: Prune only says what it would do.
	DryRun bool

	// WriterMayRun prunes although a program seems to write to the replica. The
	// caller is that program, or knows that it stands files which disappear.
	WriterMayRun bool

	// Time is the time that tells whether a program seems to write. Zero means now.
	Time time.Time
}

// Pruned says what Prune has done, or would do.
type Pruned struct {
	// Delete are the files that are not needed, in the order in which they are
	// deleted, and DeleteBytes is their size. Deleted is the number of those that
	// were deleted.
	Delete      []FileName `json:"delete"`
	DeleteBytes int64      `json:"delete_bytes"`
	Deleted     int        `json:"deleted"`

	// Files and Bytes are those that stay.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`

	// Keep are the states that are kept as PruneOptions.Keep says. States is the
	// number of all states that can be restored afterwards. Lost are those that
	// cannot, as ranges: states next to each other are in one range. LostStates is
	// their number.
	Keep       []Kept  `json:"keep"`
	States     int     `json:"states"`
	LostStates int     `json:"lost_states"`
	Lost       []Range `json:"lost,omitempty"`

	// Unmerged is the number of files that stay only because they are not merged
	// into the next level yet. Compact merges them.
	Unmerged int `json:"unmerged"`
}

// Prune deletes the files that neither the newest state nor a state of
// PruneOptions.Keep needs, nor compaction and a program that writes to go on: the
// newest file of each level, the one before the newest of level 0, and files that are
// not merged into the next level stay. Afterwards,
//
//   - every state that the policy keeps can be restored as before.
//   - other states can be restored only as far as their files are among those that
//     stay. A moment given by time is then the newest state before it that is left.
//
// What is kept does not depend on the order of deletions: after an error or a crash
// between two of them, all of it can be restored. The next call deletes the rest.
//
// Before it deletes, Prune reads the beginning and the end of each file that stays.
// It deletes nothing if one of them cannot be read, or if transactions are missing.
//
// It is ErrInUse, and nothing is deleted, if a program seems to write to the
// replica: the newest transaction is less than a minute old, or files have come
// while Prune looked. A program that does not write at the time cannot be seen.
// Readers are not seen either: one whose transaction needs a deleted file looks for
// its pages in other files, and its transaction fails if no file has them any more.
//
// Only one call at a time may prune a replica. Two at the same time can keep different
// files for the same state, if a program writes in between or if their policies differ,
// and each then deletes those of the other.
func Prune(ctx context.Context, client replica.Client, opts PruneOptions) (*Pruned, error) {
	if opts.Time.IsZero() {
		opts.Time = time.Now()
	}
	p := &pruner{session: newSession(client, opts.Requests), opts: opts}
	err := opts.Keep.validate()
	var result *Pruned
	if err == nil {
		result, err = p.run(ctx)
	}
	if err != nil {
		return result, fmt.Errorf("prune: %w", err)
	}
	return result, nil
}

// pruner is a run of Prune.
type pruner struct {
	*session
	opts PruneOptions
}

func (p *pruner) run(ctx context.Context) (*Pruned, error) {
	for attempt := 1; ; attempt++ {
		files, err := p.listDated(ctx)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, p.nothing(ctx)
		}
		result, stay, err := p.decide(ctx, files)
		if err != nil || p.opts.DryRun || len(result.Delete) == 0 {
			return result, err
		}
		if err := p.checkUnused(files); err != nil {
			return nil, err
		}
		if err = p.checkStay(ctx, stay); err == nil {
			err = p.lookAgain(ctx, files, stay)
		}
		if isGone(err) && attempt < listings {
			continue // a writer has merged and deleted files meanwhile
		}
		if err != nil {
			return nil, err
		}
		return result, p.delete(ctx, result)
	}
}

// decide decides which of the listed files stay.
func (p *pruner) decide(ctx context.Context, files []*ltx.FileInfo) (result *Pruned, stay []*ltx.FileInfo, err error) {
	if _, err := view.PlanLatest(0, files); err != nil {
		return nil, nil, fmt.Errorf("nothing is deleted: %w", err)
	}
	points, err := p.datedMoments(ctx, files)
	if err != nil {
		return nil, nil, err
	}
	kept, err := p.opts.Keep.choose(points, func(m Moment) (ltx.TXID, error) { return p.momentOf(ctx, files, m) })
	if err != nil {
		return nil, nil, err
	}
	states := make([]ltx.TXID, len(kept))
	for i, k := range kept {
		states[i] = k.TXID
	}
	result = &Pruned{Delete: []FileName{}, Keep: kept}
	var need map[view.Key]bool
	need, result.Unmerged = neededFiles(files, states)
	for _, f := range files {
		if need[view.KeyOf(f)] {
			stay = append(stay, f)
			result.Files++
			result.Bytes += f.Size
			continue
		}
		result.Delete = append(result.Delete, FileName(view.KeyOf(f)))
		result.DeleteBytes += f.Size
	}
	sortForDeletion(result.Delete, stay)
	all, left := momentsOf(files), momentsOf(stay)
	result.States, result.LostStates, result.Lost = len(left), len(all)-len(left), without(all, left)
	for _, txid := range states {
		if _, ok := slices.BinarySearch(left, txid); !ok {
			return nil, nil, fmt.Errorf("nothing is deleted: without %d files, transaction %s would be lost", len(result.Delete), txid)
		}
	}
	return result, stay, nil
}

// sortForDeletion orders files so that what is left never looks as if files were
// missing. First go the whole databases and the snapshots that are older than all of
// those that stay: before the oldest snapshot, nothing is missed. Then go the others,
// each of them before the files that it may be applied to: later ones first, and
// snapshots last.
func sortForDeletion(files []FileName, stay []*ltx.FileInfo) {
	const none = ltx.TXID(math.MaxUint64)
	whole, snapshot := none, none // the ends of the oldest ones that stay
	for _, f := range stay {
		if f.MinTXID == 1 {
			whole = min(whole, f.MaxTXID)
		}
		if f.Level == replica.SnapshotLevel {
			snapshot = min(snapshot, f.MaxTXID)
		}
	}
	turn := func(f FileName) int {
		switch {
		case f.MinTXID == 1 && f.MaxTXID < whole, f.Level == replica.SnapshotLevel && f.MaxTXID < snapshot && snapshot != none:
			return 0
		case f.Level != replica.SnapshotLevel:
			return 1
		}
		return 2
	}
	slices.SortFunc(files, func(a, b FileName) int {
		later := cmp.Or(cmp.Compare(b.MaxTXID, a.MaxTXID), cmp.Compare(b.MinTXID, a.MinTXID))
		if turn(a) == 0 {
			later = -later
		}
		return cmp.Or(cmp.Compare(turn(a), turn(b)), later, cmp.Compare(a.Level, b.Level))
	})
}

// recently is the age up to which a transaction shows that a program writes.
const recently = time.Minute

// checkUnused returns ErrInUse if the newest transaction was made recently.
func (p *pruner) checkUnused(files []*ltx.FileInfo) error {
	if p.opts.WriterMayRun {
		return nil
	}
	var newest *ltx.FileInfo
	for _, f := range files {
		if f.Level == 0 && (newest == nil || f.MaxTXID > newest.MaxTXID) {
			newest = f
		}
	}
	if newest == nil || newest.CreatedAt.IsZero() {
		return nil
	}
	if age := p.opts.Time.Sub(newest.CreatedAt); age < recently {
		return fmt.Errorf("%w: %s is %s old, so nothing is deleted", ErrInUse, view.KeyOf(newest), max(age, 0).Round(time.Second))
	}
	return nil
}

// lookAgain lists the replica again. The error is ErrInUse if files have come since
// the first listing, and fs.ErrNotExist if files that have to stay are gone.
func (p *pruner) lookAgain(ctx context.Context, files, stay []*ltx.FileInfo) error {
	again, err := p.list(ctx)
	if err != nil {
		return err
	}
	listed := make(map[view.Key]*ltx.FileInfo, len(again))
	for _, f := range again {
		listed[view.KeyOf(f)] = f
	}
	for _, f := range stay {
		if listed[view.KeyOf(f)] == nil {
			return fmt.Errorf("%s was deleted meanwhile: %w", view.KeyOf(f), fs.ErrNotExist)
		}
	}
	if p.opts.WriterMayRun {
		return nil
	}
	for _, f := range files {
		delete(listed, view.KeyOf(f))
	}
	for key := range listed {
		return fmt.Errorf("%w: %s has just come, so nothing is deleted", ErrInUse, key)
	}
	return nil
}

// checkStay reads the beginning and the end of the files that stay.
func (p *pruner) checkStay(ctx context.Context, files []*ltx.FileInfo) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.concurrency)
	for _, f := range files {
		g.Go(func() error {
			if _, err := p.open(gctx, f, 2*minTailRead); err != nil {
				return fmt.Errorf("nothing is deleted, because a file that stays cannot be used: %w", fileError(f, err))
			}
			return nil
		})
	}
	return g.Wait()
}

// deletions is the number of files that are deleted with one call.
const deletions = 100

// delete deletes the files of a result, and counts them.
func (p *pruner) delete(ctx context.Context, result *Pruned) error {
	p.progress.add(Progress{AllFiles: len(result.Delete), AllBytes: result.DeleteBytes})
	for batch := range slices.Chunk(result.Delete, deletions) {
		keys := make([]view.Key, len(batch))
		for i, f := range batch {
			keys[i] = view.Key(f)
		}
		if err := p.deleteBatch(ctx, keys); err != nil {
			return fmt.Errorf("%d of %d files are deleted: %w", result.Deleted, len(result.Delete), err)
		}
		result.Deleted += len(batch)
		p.progress.add(Progress{Files: len(batch)})
	}
	p.progress.add(Progress{Bytes: result.DeleteBytes})
	return nil
}

func (p *pruner) deleteBatch(ctx context.Context, keys []view.Key) error {
	ctx, cancel := p.within(ctx)
	defer cancel()
	return p.store.Retry(ctx, func() error {
		if err := p.store.Delete(ctx, keys...); err != nil {
			return fmt.Errorf("delete %s and %d more: %w", keys[0], len(keys)-1, err)
		}
		return nil
	})
}
