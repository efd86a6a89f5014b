package remote

import (
	"context"
	"fmt"
	"io"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// NamedFile is what a read by name has returned of a file that no listing has
// shown: the whole file if it is small, and its beginning otherwise. Nothing
// tells yet to which history the file belongs.
type NamedFile struct {
	body    []byte
	version string
}

// ReadNamed reads a file that may not exist, or its beginning if it is large. It
// makes one attempt. The result is nil if the file does not exist.
func (s *Store) ReadNamed(ctx context.Context, k view.Key) (f *NamedFile, err error) {
	t, err := s.place(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait to read %s: %w", k, err)
	}
	defer s.Limit.Done(t)
	s.NameReads.Add(1)
	err = s.Guard(func() error {
		f, err = s.readNamed(ctx, k)
		return err
	})
	switch {
	case errs.IsMissing(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", k, err)
	}
	if f.version == "" {
		s.AvoidNames("storage does not tell the version of a file that it reads", "file", k)
	}
	return f, nil
}

func (s *Store) readNamed(ctx context.Context, k view.Key) (*NamedFile, error) {
	f := new(NamedFile)
	ctx = clientio.WithReadNoter(ctx, func(version string) { f.version = version })
	r, err := s.Client.OpenLTXFile(ctx, k.Level, k.MinTXID, k.MaxTXID, 0, wholeSize)
	if err != nil {
		return nil, err
	}
	f.body, err = io.ReadAll(io.LimitReader(r, wholeSize))
	s.NameReadBytes.Add(int64(len(f.body)))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return f, err
}

// LoadNamed loads a listed file from what a read by name has returned, without a
// request. The result is nil unless that is the whole file in the version that
// was listed.
func (s *Store) LoadNamed(f *NamedFile, info *ltx.FileInfo) *Loaded {
	listed := view.VersionOf(info)
	if f == nil || listed == "" || !clientio.IsSameVersion(f.version, listed) || int64(len(f.body)) != info.Size || !s.CanReadByName() {
		return nil
	}
	l, err := parseWhole(info, f.body)
	if err != nil {
		return nil // LoadFile reads the file again, and says what is wrong
	}
	s.MarkWrong(l.File)
	return l
}

// CanReadByName reports whether reads of files by their names tell reliably
// whether the files exist, and in which version.
func (s *Store) CanReadByName() bool { return !s.avoidNames.Load() && !s.versions.useless.Load() }

// AvoidNames makes CanReadByName return false from now on, and logs the reason
// once.
func (s *Store) AvoidNames(why string, args ...any) {
	if !s.avoidNames.Swap(true) {
		s.Log.Warn(why+": new transactions are looked for by listings from now on, which cost more", args...)
	}
}
