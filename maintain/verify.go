package maintain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// VerifyOptions are the options of Verify.
type VerifyOptions struct {
	Requests

	// Quick reads only the beginning and the end of each file. It finds what is
	// missing, renamed and cut off, but no damage in pages.
	Quick bool
}

// Report is the result of Verify.
type Report struct {
	Files int   `json:"files"` // LTX files of the replica
	Bytes int64 `json:"bytes"` // their size
	Read  int64 `json:"read"`  // bytes that were read

	// Moments is the number of transactions whose state the listed files should
	// give, and Restorable the number of those which intact files give.
	Moments    int `json:"moments"`
	Restorable int `json:"restorable"`

	// Newest is the newest transaction of the listed files. Oldest and Last are
	// the oldest and the newest one whose state intact files give; 0 if there is
	// none.
	Newest ltx.TXID `json:"newest"`
	Oldest ltx.TXID `json:"oldest"`
	Last   ltx.TXID `json:"last"`

	// Lost are the moments that cannot be restored.
	Lost []Range `json:"lost,omitempty"`

	// Findings are ordered by level and transaction. Those about missing files
	// come last.
	Findings []Finding `json:"findings"`
}

// Verify reads every file of a replica and checks each of them, and whether they
// give every state that they should. It finds:
//
//   - every bit of a file that makes a page, the page index, the header or the
//     trailer another one. A different compression of the same page is no damage.
//   - files that are cut off, swapped, or have the name of another file.
//   - transactions that no file holds. A hole in a level counts if it lies above
//     the oldest snapshot and no file of another level covers it. Otherwise
//     retention may have made it. The newest files of a replica can be deleted
//     without a trace.
//   - timestamps that do not ascend, and files of the same transaction that do
//     not agree in timestamp, page size or size of the database.
//   - files whose rolling checksums do not continue those of the files before
//     them, if they have such checksums.
//
// What is wrong with the replica is in the report. An error means that Verify
// could not find out: the store did not answer, or has no database, for which the
// error is ErrNoDatabase.
func Verify(ctx context.Context, client replica.Client, opts VerifyOptions) (*Report, error) {
	v := &verifier{session: newSession(client, opts.Requests), quick: opts.Quick}
	report, err := v.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return report, nil
}

// verifier is a run of Verify.
type verifier struct {
	*session
	quick bool

	mu struct {
		sync.Mutex // serialises access to found; not held across I/O
		found      map[view.Key]*checked
	}
}

// checked is what is known of a file.
type checked struct {
	info     *ltx.FileInfo
	header   ltx.Header
	trailer  ltx.Trailer
	wellRead bool  // header and trailer are valid
	frames   int   // pages
	err      error // nil: intact
}

func (c *checked) name() FileName { return FileName(view.KeyOf(c.info)) }

// listings bounds how often files are listed again, because some of them were
// deleted or replaced during the run.
const listings = 4

func (v *verifier) run(ctx context.Context) (*Report, error) {
	v.mu.found = make(map[view.Key]*checked)
	var files []*ltx.FileInfo
	for range listings {
		listed, err := v.list(ctx)
		if err != nil {
			return nil, err
		}
		files = listed
		if !v.keepListed(files) {
			break
		}
		if err := v.checkAll(ctx, files); err != nil {
			return nil, err
		}
		if !v.hasGone(files) {
			break
		}
	}
	if len(files) == 0 {
		return nil, v.nothing(ctx)
	}
	return v.report(files), nil
}

// keepListed forgets the files that are not listed any more, or are listed with
// another content. It reports whether there are files that were not checked.
func (v *verifier) keepListed(files []*ltx.FileInfo) (unchecked bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found := make(map[view.Key]*checked, len(files))
	for _, f := range files {
		key := view.KeyOf(f)
		if c := v.mu.found[key]; c != nil && !isGone(c.err) && view.ListingOf(c.info).Is(view.ListingOf(f)) {
			found[key] = c
		} else {
			unchecked = true
		}
	}
	v.mu.found = found
	return unchecked
}

// hasGone reports whether files could not be read because they are not there.
func (v *verifier) hasGone(files []*ltx.FileInfo) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return isGone(v.mu.found[view.KeyOf(f)].err) })
}

// checkAll checks the files that were not checked before.
func (v *verifier) checkAll(ctx context.Context, files []*ltx.FileInfo) error {
	var todo []*ltx.FileInfo
	v.mu.Lock()
	for _, f := range files {
		if v.mu.found[view.KeyOf(f)] == nil {
			todo = append(todo, f)
		}
	}
	v.mu.Unlock()
	v.progress.expect(todo)
	// Large files first, so that none of them is left alone at the end.
	slices.SortStableFunc(todo, func(a, b *ltx.FileInfo) int { return cmp.Compare(b.Size, a.Size) })
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(v.concurrency)
	for _, info := range todo {
		g.Go(func() error {
			c := v.check(gctx, info)
			if gctx.Err() != nil {
				return gctx.Err()
			}
			v.mu.Lock()
			v.mu.found[view.KeyOf(info)] = c
			v.mu.Unlock()
			v.progress.add(Progress{Files: 1})
			return nil
		})
	}
	return g.Wait()
}

// check checks one file.
func (v *verifier) check(ctx context.Context, info *ltx.FileInfo) *checked {
	result := &checked{info: info}
	whole := int64(wholeSize)
	if v.quick {
		whole = 2 * minTailRead
	}
	c, err := v.open(ctx, info, whole)
	if err == nil {
		result.header, result.trailer, result.wellRead, result.frames = c.header, c.trailer, true, c.index.Len()
		if !v.quick || c.body != nil {
			err = v.verify(ctx, c, func(pgno uint32, page []byte) error {
				if pgno != 1 {
					return nil
				}
				_, err := dbheader.Check(page, c.header.PageSize)
				return err
			})
		}
	}
	if err == nil && info.Level == replica.SnapshotLevel && info.MinTXID != 1 {
		err = errMisplaced
	}
	result.err = err
	return result
}

// errMisplaced is the finding about a file of the snapshot level that is none.
var errMisplaced = errors.New("a snapshot begins with transaction 1")

// kindOf returns the kind of a file's finding.
func kindOf(err error) Kind {
	switch {
	case errors.Is(err, errMisplaced):
		return Misplaced
	case errors.Is(err, errs.ErrCorrupt):
		return Damaged
	}
	return Unreadable
}

// report puts together what was found.
func (v *verifier) report(files []*ltx.FileInfo) *Report {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.progress.mu.Lock()
	r := &Report{Files: len(files), Read: v.progress.mu.now.Bytes}
	v.progress.mu.Unlock()
	var all, intact []*checked
	for _, f := range files {
		c := v.mu.found[view.KeyOf(f)]
		all = append(all, c)
		if c.err == nil {
			intact = append(intact, c)
		}
		r.Bytes += f.Size
		r.Newest = max(r.Newest, f.MaxTXID)
	}
	slices.SortFunc(all, func(a, b *checked) int { return view.KeyOf(a.info).Compare(view.KeyOf(b.info)) })
	wrong := map[*checked]bool{}
	for _, c := range all {
		if c.err != nil {
			r.Findings = append(r.Findings, Finding{Kind: kindOf(c.err), File: c.name(), Err: c.err})
			wrong[c] = true
		}
	}
	for _, f := range contradictions(intact) {
		r.Findings = append(r.Findings, f.Finding)
		wrong[f.of] = wrong[f.of] || f.Kind == Conflict
	}
	r.Findings = append(r.Findings, missing(files)...)

	moments := allMoments(files)
	var left []*ltx.FileInfo
	for _, c := range all {
		if !wrong[c] {
			left = append(left, c.info)
		}
	}
	have := momentsOf(left)
	r.Moments, r.Restorable = len(moments), len(have)
	if len(have) > 0 {
		r.Oldest, r.Last = have[0], have[len(have)-1]
	}
	r.Lost = without(moments, have)
	loseEach(r.Findings, files)
	return r
}

// mostLosses bounds the findings for which Lost is computed one by one.
const mostLosses = 100

// loseEach fills in what is lost because of each finding alone.
func loseEach(findings []Finding, files []*ltx.FileInfo) {
	for i := range findings[:min(len(findings), mostLosses)] {
		f := &findings[i]
		switch f.Kind {
		case Disorder:
		case Missing:
			f.Lost = without(behind(f.Range, files), nil)
		default:
			left := slices.DeleteFunc(slices.Clone(files), func(info *ltx.FileInfo) bool { return view.KeyOf(info) == view.Key(f.File) })
			f.Lost = without(momentsOf(files), momentsOf(left))
		}
	}
}

// behind returns the moments that files do not give because a range of
// transactions before them is missing.
func behind(gap Range, files []*ltx.FileInfo) (lost []ltx.TXID) {
	for _, p := range view.Points(files) {
		if p.Reachable && p.TXID > gap.Last {
			break
		}
		if p.TXID > gap.Last {
			lost = append(lost, p.TXID)
		}
	}
	return lost
}

// allMoments returns the transactions whose state files should give: those whose
// state they give, and those at which a file after a gap ends.
func allMoments(files []*ltx.FileInfo) []ltx.TXID {
	moments := momentsOf(files)
	for _, gap := range gapsIn(files, 0) {
		moments = append(moments, behind(gap, files)...)
	}
	slices.Sort(moments)
	return slices.Compact(moments)
}

// momentsOf returns the transactions whose state files give, in ascending order.
func momentsOf(files []*ltx.FileInfo) (moments []ltx.TXID) {
	for _, p := range view.Points(files) {
		if p.Reachable {
			moments = append(moments, p.TXID)
		}
	}
	return moments
}

// without returns the moments that are not in have, as ranges: moments next to
// each other are in one range. Both slices ascend.
func without(moments, have []ltx.TXID) (lost []Range) {
	open := false // the last range can be extended
	for _, txid := range moments {
		_, ok := slices.BinarySearch(have, txid)
		switch {
		case ok:
			open = false
		case open:
			lost[len(lost)-1].Last = txid
		default:
			lost, open = append(lost, Range{txid, txid}), true
		}
	}
	return lost
}

// filed is a finding with the file that it is about.
type filed struct {
	Finding
	of *checked
}

// contradictions returns what is wrong with files that are intact by themselves,
// compared with others. The files are ordered by level and transactions.
func contradictions(files []*checked) (found []filed) {
	byEnd := slices.Clone(files)
	slices.SortStableFunc(byEnd, func(a, b *checked) int { return cmp.Compare(a.info.MaxTXID, b.info.MaxTXID) })
	conflict := func(c *checked, format string, args ...any) {
		found = append(found, filed{Finding{Kind: Conflict, File: c.name(), Err: fmt.Errorf(format, args...)}, c})
	}
	ends := map[ltx.TXID]*checked{} // the first file that ends at a transaction
	var last *checked               // newest file with the time of its transaction
	for _, c := range byEnd {
		dated := c.info.Level != replica.SnapshotLevel
		if same := ends[c.info.MaxTXID]; same == nil {
			ends[c.info.MaxTXID] = c
		} else if same.header.PageSize != c.header.PageSize || same.header.Commit != c.header.Commit {
			conflict(c, "it ends with a database of %d pages of %d bytes, but %s, which ends with the same transaction, of %d pages of %d bytes",
				c.header.Commit, c.header.PageSize, same.name(), same.header.Commit, same.header.PageSize)
			continue
		}
		if !dated {
			continue
		}
		if last != nil && last.header.Timestamp != c.header.Timestamp {
			switch {
			case last.info.MaxTXID == c.info.MaxTXID:
				conflict(c, "its timestamp is %s, but that of %s, which ends with the same transaction, is %s",
					formatStamp(c.header.Timestamp), last.name(), formatStamp(last.header.Timestamp))
				continue
			case last.header.Timestamp > c.header.Timestamp:
				found = append(found, filed{Finding{Kind: Disorder, File: c.name(), Err: fmt.Errorf("its timestamp is %s, earlier than %s of %s, which ends before it",
					formatStamp(c.header.Timestamp), formatStamp(last.header.Timestamp), last.name())}, c})
				continue
			}
		}
		last = c
	}
	for _, c := range files {
		before := ends[c.info.MinTXID-1]
		switch {
		case before == nil || c.holdsAll():
		case before.header.PageSize != c.header.PageSize:
			conflict(c, "its pages have %d bytes, but those of %s, which it continues, %d", c.header.PageSize, before.name(), before.header.PageSize)
		case !c.header.NoChecksum() && !before.header.NoChecksum() && c.header.PreApplyChecksum != before.trailer.PostApplyChecksum:
			conflict(c, "it continues a database with the rolling checksum %s, but %s, which it continues, has %s",
				c.header.PreApplyChecksum, before.name(), before.trailer.PostApplyChecksum)
		}
	}
	return found
}

// holdsAll reports whether a file holds every page of the database.
func (c *checked) holdsAll() bool {
	pages := c.header.Commit
	if pages >= c.header.LockPgno() {
		pages--
	}
	return uint32(c.frames) == pages
}
