package maintain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// RepairOptions are the options of Repair.
type RepairOptions struct {
	Requests

	// DryRun changes nothing: Repair only says what it would do.
	DryRun bool
}

// StepKind is a kind of steps of a repair.
type StepKind int

// The kinds of steps.
const (
	CopyFile     StepKind = iota // a file whose name is wrong is copied to the name that it should have
	RebuildFile                  // a damaged file is written again, from intact files that hold the same
	DeleteFile                   // a file whose name is wrong is deleted, because an intact one has its content
	MakeSnapshot                 // the newest state becomes a snapshot, because the files on the way to it are damaged
)

var stepNames = [...]string{"copy", "rebuild", "delete", "snapshot"}

// String returns the name of the kind.
func (k StepKind) String() string {
	if k < 0 || int(k) >= len(stepNames) {
		return fmt.Sprintf("StepKind(%d)", int(k))
	}
	return stepNames[k]
}

// MarshalText returns the name of the kind.
func (k StepKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Step is a step of a repair.
type Step struct {
	Kind StepKind   `json:"kind"`
	File FileName   `json:"file"` // the file that is written or deleted
	From []FileName `json:"from"` // the files that it is made of, or the one that has its content
	Done bool       `json:"done"`
}

// String says what the step does.
func (s Step) String() string {
	switch s.Kind {
	case CopyFile:
		return fmt.Sprintf("copy %s to %s, the name that its header has", s.From[0], s.File)
	case DeleteFile:
		return fmt.Sprintf("delete %s, which is a copy of %s", s.File, s.From[0])
	}
	verb := "rebuild"
	if s.Kind == MakeSnapshot {
		verb = "make"
	}
	if n := len(s.From); n > 1 {
		return fmt.Sprintf("%s %s from %d files, %s to %s", verb, s.File, n, s.From[0], s.From[n-1])
	}
	return fmt.Sprintf("%s %s from %s", verb, s.File, s.From[0])
}

// Repaired is the result of Repair.
type Repaired struct {
	Before *Report `json:"before"`
	Steps  []Step  `json:"steps"`

	// After is what Verify finds after the steps. It is nil with DryRun, and if
	// there are no steps.
	After *Report `json:"after,omitempty"`
}

// Repair verifies a replica and does what can be done about what it finds without
// losing anything:
//
//   - a damaged file is replaced if intact files hold the same transactions, such as
//     the files that it was merged from. It is rebuilt from them.
//   - a file whose content has the transactions of another name is copied to that
//     name if no other file has these transactions, they follow a state that can be
//     restored, and its times and sizes fit those of the other files.
//   - a file whose content is that of another file, with another name, is deleted.
//   - if the newest state that can be restored is hidden by a damaged file that
//     cannot be rebuilt, it becomes a snapshot. What is written after it can then be
//     restored as well.
//
// Everything else stays as it is: what is missing, damaged files whose content no
// other file has, and files that contradict each other.
//
// No state that could be restored is lost at any time, whatever happens between two
// steps, and the next call goes on. Repair does not replace a file that was replaced
// by an intact one meanwhile. It may run while a primary writes.
func Repair(ctx context.Context, client replica.Client, opts RepairOptions) (*Repaired, error) {
	r := &repairer{session: newSession(client, opts.Requests), req: opts.Requests}
	result, err := r.run(ctx, client, opts.DryRun)
	if err != nil {
		return result, fmt.Errorf("repair: %w", err)
	}
	return result, nil
}

// repairer is a run of Repair.
type repairer struct {
	*session
	req    Requests
	intact []*checked                 // files that are intact, or are after the steps so far
	wrong  map[view.Key]*ltx.FileInfo // the others
	copied []stray                    // those for which a copy is planned
	steps  []Step
}

func (r *repairer) run(ctx context.Context, client replica.Client, dryRun bool) (*Repaired, error) {
	v := &verifier{session: newSession(client, r.req)}
	before, err := v.run(ctx)
	if err != nil {
		return nil, err
	}
	result := &Repaired{Before: before, Steps: []Step{}}
	if len(before.Findings) == 0 {
		return result, nil
	}
	if err := r.plan(ctx, v, before); err != nil {
		return nil, err
	}
	result.Steps = append(result.Steps, r.steps...)
	if dryRun || len(r.steps) == 0 {
		return result, nil
	}
	for i := range result.Steps {
		if err := r.do(ctx, result.Steps[i]); err != nil {
			return result, fmt.Errorf("%s: %w", result.Steps[i], err)
		}
		result.Steps[i].Done = true
	}
	result.After, err = (&verifier{session: newSession(client, r.req)}).run(ctx)
	return result, err
}

// plan decides on the steps.
func (r *repairer) plan(ctx context.Context, v *verifier, report *Report) error {
	v.mu.Lock()
	found := v.mu.found
	v.mu.Unlock()
	r.wrong = make(map[view.Key]*ltx.FileInfo)
	candidates := make(map[view.Key]bool) // files whose content is damaged or in the wrong place
	for _, f := range report.Findings {
		key := view.Key(f.File)
		switch f.Kind {
		case Damaged, Misplaced:
			candidates[key] = true
			fallthrough
		case Unreadable, Conflict:
			r.wrong[key] = found[key].info
		}
	}
	for key, c := range found {
		if r.wrong[key] == nil {
			r.intact = append(r.intact, c)
		}
	}
	r.sort()
	todo := slices.SortedFunc(maps.Keys(candidates), view.Key.Compare)
	strays, err := r.findStrays(ctx, todo)
	if err != nil {
		return err
	}
	// Each file that comes into order may be what others need.
	untilNone(&strays, r.placeStray)
	untilNone(&todo, func(key view.Key) bool { return r.wrong[key] == nil || r.rebuild(key, found[key]) })
	for _, s := range r.copied {
		if key := view.KeyOf(s.info); r.wrong[key] != nil {
			r.deleteTwin(s)
		}
	}
	r.unhide()
	return nil
}

// untilNone removes the items for which do returns true, until it does for none.
func untilNone[T any](items *[]T, do func(T) bool) {
	for n := -1; n != len(*items); {
		n = len(*items)
		*items = slices.DeleteFunc(*items, do)
	}
}

// sort sorts the intact files, so that a plan does not depend on chance.
func (r *repairer) sort() {
	slices.SortFunc(r.intact, func(a, b *checked) int { return view.KeyOf(a.info).Compare(view.KeyOf(b.info)) })
}

// infos returns the files that are intact.
func (r *repairer) infos() (files []*ltx.FileInfo) {
	for _, c := range r.intact {
		files = append(files, c.info)
	}
	return files
}

// settle records that a file is intact after a step.
func (r *repairer) settle(c *checked) {
	r.intact = append(r.intact, c)
	r.sort()
	delete(r.wrong, view.KeyOf(c.info))
}

// step adds a step.
func (r *repairer) step(kind StepKind, file view.Key, from ...*ltx.FileInfo) {
	s := Step{Kind: kind, File: FileName(file)}
	for _, f := range from {
		s.From = append(s.From, FileName(view.KeyOf(f)))
	}
	r.steps = append(r.steps, s)
}

// stray is a file that is intact, but not what its name says.
type stray struct {
	info    *ltx.FileInfo
	content *content
}

// findStrays reads files, and returns those whose content is intact for another
// name.
func (r *repairer) findStrays(ctx context.Context, keys []view.Key) (strays []stray, err error) {
	for _, key := range keys {
		c, err := r.openStray(ctx, r.wrong[key])
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil:
			strays = append(strays, stray{r.wrong[key], c})
		case !errors.Is(err, errs.ErrCorrupt) && !isGone(err):
			return nil, fileError(r.wrong[key], err)
		}
	}
	return strays, nil
}

// openStray opens a file whose name is wrong, and compares its checksums. The error
// wraps ErrCorrupt if the name is right, or if the content is damaged.
func (r *repairer) openStray(ctx context.Context, info *ltx.FileInfo) (*content, error) {
	if info.Size < ltx.HeaderSize {
		return nil, fmt.Errorf("%w: file has %d bytes", errs.ErrCorrupt, info.Size)
	}
	head := make([]byte, ltx.HeaderSize)
	if err := r.load(ctx, info, head, 0); err != nil {
		return nil, err
	}
	var hdr ltx.Header
	if err := hdr.UnmarshalBinary(head); err != nil {
		return nil, fmt.Errorf("%w: %w", errs.ErrCorrupt, err)
	}
	isMisplaced := info.Level == replica.SnapshotLevel && info.MinTXID != 1
	if hdr.MinTXID == info.MinTXID && hdr.MaxTXID == info.MaxTXID && !isMisplaced {
		return nil, fmt.Errorf("%w: the name is right", errs.ErrCorrupt)
	}
	c, err := r.openAs(ctx, info, hdr.MinTXID, hdr.MaxTXID, wholeSize)
	if err == nil {
		err = r.verify(ctx, c, func(uint32, []byte) error { return nil })
	}
	return c, err
}

// placeStray plans to delete a stray whose content another file has. If none has its
// transactions, it plans to copy it first to where it belongs. It reports whether
// there is nothing left to be planned.
func (r *repairer) placeStray(s stray) bool {
	if r.deleteTwin(s) {
		return true
	}
	to := placeOf(s.info.Level, s.content.header)
	if r.isTaken(to) {
		to.Level = replica.SnapshotLevel - 1
	}
	info := *s.info
	info.Level, info.MinTXID, info.MaxTXID = to.Level, to.MinTXID, to.MaxTXID
	c := &checked{info: &info, header: s.content.header, trailer: s.content.trailer, wellRead: true, frames: s.content.index.Len()}
	if r.isTaken(to) || !r.fits(c) {
		return false
	}
	r.step(CopyFile, to, s.info)
	r.settle(c)
	r.copied = append(r.copied, s)
	return true
}

// placeOf returns the name for a file that was found on some level. It is on level 1
// in no case: Litestream deletes files of level 0 up to the newest one of level 1.
func placeOf(level int, hdr ltx.Header) view.Key {
	switch {
	case hdr.MinTXID == hdr.MaxTXID && (level != replica.SnapshotLevel || hdr.MinTXID != 1):
		level = 0
	case level < 2, level == replica.SnapshotLevel && hdr.MinTXID != 1:
		level = 2
	}
	return view.Key{Level: level, MinTXID: hdr.MinTXID, MaxTXID: hdr.MaxTXID}
}

// deleteTwin plans to delete a stray, if another file has its content.
func (r *repairer) deleteTwin(s stray) bool {
	twin := slices.IndexFunc(r.intact, func(c *checked) bool { return isTwin(c, s.content) })
	if twin < 0 {
		return false
	}
	r.step(DeleteFile, view.KeyOf(s.info), r.intact[twin].info)
	delete(r.wrong, view.KeyOf(s.info))
	return true
}

// isTwin reports whether an intact file has the same content as another one.
func isTwin(c *checked, with *content) bool {
	return c.wellRead && c.info.Size == with.info.Size && c.header == with.header && c.trailer == with.trailer
}

// isTaken reports whether a file has a name.
func (r *repairer) isTaken(key view.Key) bool {
	return r.wrong[key] != nil || slices.ContainsFunc(r.intact, func(c *checked) bool { return view.KeyOf(c.info) == key })
}

// fits reports whether a file holds what is missing: no other file but snapshots has
// any of its transactions, a state that can be restored is the one before it, and it
// contradicts no other file.
func (r *repairer) fits(c *checked) bool {
	for _, other := range r.intact {
		if other.info.Level != replica.SnapshotLevel && other.info.MinTXID <= c.info.MaxTXID && other.info.MaxTXID >= c.info.MinTXID {
			return false
		}
	}
	if c.info.MinTXID > 1 {
		if _, ok := slices.BinarySearch(momentsOf(r.infos()), c.info.MinTXID-1); !ok {
			return false
		}
	}
	with := append(slices.Clone(r.intact), c)
	slices.SortFunc(with, func(a, b *checked) int { return view.KeyOf(a.info).Compare(view.KeyOf(b.info)) })
	return len(contradictions(with)) <= len(contradictions(r.intact))
}

// rebuild plans to write a damaged file again, if intact files hold the same.
func (r *repairer) rebuild(key view.Key, c *checked) bool {
	if key.Level == replica.SnapshotLevel && key.MinTXID != 1 {
		return false
	}
	files := slices.DeleteFunc(r.infos(), func(f *ltx.FileInfo) bool { return f.MinTXID < key.MinTXID })
	inputs, end := view.Extend(key.MinTXID-1, key.MaxTXID, files)
	if len(inputs) == 0 || end != key.MaxTXID || inputs[0].MinTXID != key.MinTXID {
		return false
	}
	r.step(RebuildFile, key, inputs...)
	last := r.of(inputs[len(inputs)-1])
	r.settle(&checked{info: c.info, header: last.header, trailer: last.trailer, wellRead: false})
	return true
}

// of returns what is known of an intact file.
func (r *repairer) of(info *ltx.FileInfo) *checked {
	return r.intact[slices.IndexFunc(r.intact, func(c *checked) bool { return c.info == info })]
}

// unhide plans a snapshot of the newest state that intact files give, if the files
// that readers would use for it are not all intact.
func (r *repairer) unhide() {
	intact := r.infos()
	states := momentsOf(intact)
	if len(states) == 0 || len(r.wrong) == 0 {
		return
	}
	newest := states[len(states)-1]
	all := slices.Clone(intact)
	for _, f := range r.wrong {
		all = append(all, f)
	}
	used, _ := view.Extend(0, newest, all)
	if !slices.ContainsFunc(used, func(f *ltx.FileInfo) bool { return r.wrong[view.KeyOf(f)] != nil }) {
		return
	}
	key := view.Key{Level: replica.SnapshotLevel, MinTXID: 1, MaxTXID: newest}
	if r.isTaken(key) {
		return
	}
	inputs, _ := view.Extend(0, newest, intact)
	r.step(MakeSnapshot, key, inputs...)
}

// do does a step.
func (r *repairer) do(ctx context.Context, s Step) error {
	listed, err := r.list(ctx)
	if err != nil {
		return err
	}
	files := make(map[view.Key]*ltx.FileInfo, len(listed))
	for _, f := range listed {
		files[view.KeyOf(f)] = f
	}
	var from []*ltx.FileInfo
	for _, name := range s.From {
		f := files[view.Key(name)]
		if f == nil {
			return fmt.Errorf("%s is not there any more", name)
		}
		from = append(from, f)
	}
	target := files[view.Key(s.File)]
	switch s.Kind {
	case CopyFile:
		return r.copyStray(ctx, view.Key(s.File), from[0])
	case DeleteFile:
		return r.deleteStray(ctx, target, from[0])
	case RebuildFile:
		return r.replace(ctx, view.Key(s.File), target, from)
	default:
		_, _, err := r.merge(ctx, view.Key(s.File), from)
		return err
	}
}

// copyStray copies a file whose name is wrong to another name.
func (r *repairer) copyStray(ctx context.Context, to view.Key, from *ltx.FileInfo) error {
	c, err := r.openStray(ctx, from)
	if err != nil {
		return fileError(from, err)
	}
	copier := &copier{from: r.session, to: r.session}
	u := r.startUpload(ctx, to)
	info, err := r.store.Create(u.ctx, to, u.body(func(w io.Writer) error { return copier.stream(ctx, c, w) }))
	if err = u.end(err); err != nil {
		return err
	}
	return r.checkFile(ctx, info)
}

// deleteStray deletes a file whose content another file has. Both are read again.
func (r *repairer) deleteStray(ctx context.Context, target, twin *ltx.FileInfo) error {
	if target == nil {
		return nil // it is gone
	}
	c, err := r.openStray(ctx, target)
	if err != nil {
		return fileError(target, err)
	}
	other, err := r.open(ctx, twin, wholeSize)
	if err == nil {
		err = r.verify(ctx, other, func(uint32, []byte) error { return nil })
	}
	if err != nil {
		return fileError(twin, err)
	}
	if c.info.Size != other.info.Size || c.header != other.header || c.trailer != other.trailer {
		return fmt.Errorf("%s and %s are not the same any more", view.KeyOf(target), view.KeyOf(twin))
	}
	return r.delete(ctx, view.KeyOf(target))
}

// replace writes a damaged file again, and reads it back.
func (r *repairer) replace(ctx context.Context, key view.Key, target *ltx.FileInfo, inputs []*ltx.FileInfo) error {
	if target != nil {
		if err := r.checkFile(ctx, target); err == nil {
			return nil // another process has replaced it
		}
	}
	// The inputs are read before the file is replaced, because a store may not keep
	// the old content if an upload ends early.
	for _, f := range inputs {
		if err := r.checkFile(ctx, f); err != nil {
			return err
		}
	}
	read := int64(0)
	m := r.merger(&read)
	u := r.startUpload(ctx, key)
	body := u.body(func(w io.Writer) error { return m.Merge(ctx, w, inputs) })
	reader, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := r.store.Guard(func() error { return body(w) })
		_ = w.CloseWithError(err)
		done <- err
	}()
	var info *ltx.FileInfo
	err := r.store.Guard(func() (err error) {
		info, err = r.store.Client.WriteLTXFile(u.ctx, key.Level, key.MinTXID, key.MaxTXID, reader)
		return err
	})
	_ = reader.Close()
	merged := <-done
	if err = u.end(err); err != nil {
		if merged != nil && !errors.Is(merged, io.ErrClosedPipe) {
			err = cmp.Or(merged, err)
		}
		return fmt.Errorf("write %s: %w", key, err)
	}
	return r.checkFile(ctx, info)
}
