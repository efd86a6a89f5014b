package maintain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/webindex"
	"github.com/ltxvfs/litestream/replica"
)

// PublishOptions are the options of Publish.
type PublishOptions struct {
	Requests

	// Write stores the index. Nil means the client's WriteIndex, which puts it
	// beside the LTX files.
	Write func(ctx context.Context, index []byte) error

	// Last is the result of an earlier call for the same replica. If the files are
	// still the same, nothing is written.
	Last *Published
}

// Published is what Publish has written.
type Published struct {
	Files   int      `json:"files"` // LTX files
	Bytes   int64    `json:"bytes"` // their size
	Newest  ltx.TXID `json:"newest"`
	Written bool     `json:"written"` // the index is not the same as that of Last

	hex   bool
	files map[view.Key]publishedFile
}

// publishedFile is a file of an index.
type publishedFile struct {
	webindex.File
	listed  *ltx.FileInfo
	isExact bool // the listing was asked for exact times
}

// isListedAs reports whether a later listing, which was not asked for exact times,
// shows the same file. Exact times cannot be compared with others.
func (f publishedFile) isListedAs(info *ltx.FileInfo) bool {
	hasVersions := view.VersionOf(f.listed) != "" && view.VersionOf(info) != ""
	return (hasVersions || !f.isExact) && view.ListingOf(f.listed).Is(view.ListingOf(info))
}

// Publish writes index.json: the list of a replica's files, by which package https
// reads the replica behind any web server. Its times are those of the LTX headers
// where the store can tell them. Publish again after each change; a reader sees only
// the files that the index has.
func Publish(ctx context.Context, client replica.Client, opts PublishOptions) (*Published, error) {
	p, err := publish(ctx, newSession(client, opts.Requests), client, opts)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return p, nil
}

func publish(ctx context.Context, s *session, client replica.Client, opts PublishOptions) (*Published, error) {
	write := opts.Write
	if w, ok := client.(replica.IndexWriter); ok && write == nil {
		write = w.WriteIndex
	}
	if write == nil {
		return nil, fmt.Errorf("this store cannot keep an index beside the LTX files: %w", errors.ErrUnsupported)
	}
	listedAt := time.Now()
	files, err := s.listForIndex(ctx, opts.Last == nil)
	if err != nil {
		return nil, err
	}
	exact, err := s.exactTimes(ctx, opts.Last.others(files))
	if err != nil {
		return nil, err
	}
	p := &Published{Written: true, files: make(map[view.Key]publishedFile, len(files))}
	if opts.Last != nil {
		p.hex = opts.Last.hex
	} else if p.hex, err = s.isHex(ctx); err != nil {
		return nil, err
	}
	index := webindex.Index{Published: listedAt, Files: p.add(files, opts.Last, exact)}
	if last := opts.Last; last != nil && len(last.files) == len(p.files) && len(p.files) == p.sameAs(last) {
		p.Written = false
		return p, nil
	}
	encoded, err := webindex.Encode(index)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.withinUpload(ctx, int64(len(encoded)))
	defer cancel()
	return p, write(ctx, encoded)
}

// listForIndex lists all files, in order of level and TXIDs. exact asks the store for
// the exact times, which may take a request for each file.
func (s *session) listForIndex(ctx context.Context, exact bool) ([]*ltx.FileInfo, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	if err := s.store.Init(ctx); err != nil {
		return nil, err
	}
	files, err := s.store.ListAll(ctx, exact)
	if err != nil {
		return nil, err
	}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b *ltx.FileInfo) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.MinTXID, b.MinTXID), cmp.Compare(a.MaxTXID, b.MaxTXID))
	})
	return files, nil
}

// exactTimes returns the exact times of files, by a listing of each level from the
// first of its files on.
func (s *session) exactTimes(ctx context.Context, files []*ltx.FileInfo) (map[view.Key]time.Time, error) {
	first := make(map[int]ltx.TXID)
	for _, f := range files {
		if seek, ok := first[f.Level]; !ok || f.MinTXID < seek {
			first[f.Level] = f.MinTXID
		}
	}
	exact := make(map[view.Key]time.Time)
	ctx, cancel := s.within(ctx)
	defer cancel()
	for level, seek := range first {
		var listed []*ltx.FileInfo
		err := s.store.Retry(ctx, func() (err error) {
			listed, err = s.store.List(ctx, level, seek, true)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, f := range listed {
			exact[view.KeyOf(f)] = f.CreatedAt
		}
	}
	return exact, nil
}

// others returns the files that the index lacks, or of which it may have another one of
// the same name. If there is no index, the listing has exact times for all files.
func (p *Published) others(files []*ltx.FileInfo) []*ltx.FileInfo {
	if p == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(files), func(f *ltx.FileInfo) bool {
		before, ok := p.files[view.KeyOf(f)]
		return ok && before.isListedAs(f)
	})
}

// add adds listed files and returns their entries. A file that is listed as it was for
// the last index keeps its time. Another one gets that of exact: readers tell two files
// of the same name and size apart by it, and each Publish has to give a file the same.
func (p *Published) add(files []*ltx.FileInfo, last *Published, exact map[view.Key]time.Time) []webindex.File {
	layout := clientio.NewLayout("")
	entries := make([]webindex.File, 0, len(files))
	for _, f := range files {
		name := layout.Key(f.Level, f.MinTXID, f.MaxTXID)
		if p.hex {
			name = clientio.NewHexLayout("").Key(f.Level, f.MinTXID, f.MaxTXID)[1:]
		}
		e := webindex.File{Name: name, Size: f.Size, Time: f.CreatedAt}
		if at, ok := exact[view.KeyOf(f)]; ok {
			e.Time = at
		}
		if last != nil {
			if before, ok := last.files[view.KeyOf(f)]; ok && before.isListedAs(f) {
				e.Time = before.Time
			}
		}
		p.files[view.KeyOf(f)] = publishedFile{e, f, last == nil}
		entries = append(entries, e)
		p.Files++
		p.Bytes += f.Size
		p.Newest = max(p.Newest, f.MaxTXID)
	}
	return entries
}

// sameAs returns the number of files that another index has, too.
func (p *Published) sameAs(last *Published) (same int) {
	for key, f := range p.files {
		if before, ok := last.files[key]; ok && before.Name == f.Name && before.Size == f.Size && before.Time.Equal(f.Time) {
			same++
		}
	}
	return same
}

// isHex tells whether the store has the layout of S3. One that cannot tell has not.
func (s *session) isHex(ctx context.Context) (bool, error) {
	ctx, cancel := s.within(ctx)
	defer cancel()
	at, err := s.store.Survey(ctx, "")
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return false, err
	}
	return at.LevelDir == "0009/", nil
}
