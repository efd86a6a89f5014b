package clientio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Limits of a Survey, as package replica documents them.
const (
	MaxSurveyNames = 100
	SurveyHeadSize = 16
)

// Survey has the fields of replica.Survey, so that one converts to the other.
type Survey struct {
	Names    []string
	More     bool
	Head     []byte
	LevelDir string
}

// Surveyed is a connection to an object store that can list folders.
type Surveyed interface {
	// Layout returns the names of the files of the replica.
	Layout() Layout

	// Folder fetches a page of a listing with the slash as delimiter. It returns
	// the names of the objects and the common prefixes that begin with prefix,
	// in any order, and whether there are more.
	Folder(ctx context.Context, prefix string, limit int) (names []string, more bool, err error)

	// ReadKey reads size bytes from the beginning of an object. If there is no
	// such object, the error is fs.ErrNotExist.
	ReadKey(ctx context.Context, key string, offset, size int64) (io.ReadCloser, error)
}

// SurveyObjects implements Survey for a client of an object store.
func SurveyObjects[S Surveyed](ctx context.Context, dir string, connect func(context.Context) (S, error)) (Survey, error) {
	err := CheckDir(dir)
	var s S
	if err == nil {
		s, err = connect(ctx)
	}
	if err != nil {
		return Survey{}, fmt.Errorf("survey replica: %w", err)
	}
	type head struct {
		bytes []byte
		err   error
	}
	layout, heads := s.Layout(), make(chan head, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if dir == "" && layout.place != "" {
		go func() {
			b, err := readHead(ctx, s, strings.TrimSuffix(layout.place, "/"))
			heads <- head{b, err}
		}()
	} else {
		heads <- head{}
	}
	names, more, err := s.Folder(ctx, layout.place+dir, MaxSurveyNames)
	if err != nil {
		cancel()
	}
	h := <-heads // the goroutine does not outlive the call
	if err = cmp.Or(err, h.err); err != nil {
		return Survey{}, fmt.Errorf("survey replica: %w", err)
	}
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, layout.place+dir)
	}
	survey := NewSurvey(names, more, layout)
	survey.Head = h.bytes
	return survey, nil
}

// NewSurvey returns a survey of names, which it sorts and limits. It leaves out
// the empty name, which the object of a folder itself has, and the slash, which
// the names of a replica without a path begin with.
func NewSurvey(names []string, more bool, layout Layout) Survey {
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" || name == "/" })
	slices.Sort(names)
	if len(names) > MaxSurveyNames {
		names, more = names[:MaxSurveyNames], true
	}
	dir := strings.TrimPrefix(layout.Prefix(MaxLevel), layout.place)
	return Survey{Names: names, More: more, LevelDir: strings.TrimPrefix(dir, "/")}
}

// readHead returns the first bytes of an object. They are nil if the object does
// not exist or the client may not read it.
func readHead(ctx context.Context, s Surveyed, key string) ([]byte, error) {
	r, err := s.ReadKey(ctx, key, 0, SurveyHeadSize)
	var permanent interface{ Permanent() bool }
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.As(err, &permanent) && permanent.Permanent():
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return b, nil
}

// CheckDir returns fs.ErrInvalid if dir is neither empty nor the name of a folder
// with the slash at its end.
func CheckDir(dir string) error {
	name, ok := strings.CutSuffix(dir, "/")
	if dir != "" && (!ok || name == "" || name == "." || name == ".." || strings.Contains(name, "/")) {
		return fmt.Errorf("folder %q: %w", dir, fs.ErrInvalid)
	}
	return nil
}

// AllBelow reports whether all names of a listing begin with its prefix.
func AllBelow(names []string, prefix string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
}
