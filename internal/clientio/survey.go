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
	layout := s.Layout()
	names, more, head, err := look(ctx, func(ctx context.Context) ([]string, bool, error) {
		return s.Folder(ctx, layout.place+dir, MaxSurveyNames)
	}, func(ctx context.Context) ([]byte, error) {
		if dir != "" || layout.place == "" {
			return nil, nil
		}
		return readHead(ctx, s, strings.TrimSuffix(layout.place, "/"))
	})
	if err != nil {
		return Survey{}, fmt.Errorf("survey replica: %w", err)
	}
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, layout.place+dir)
	}
	survey := NewSurvey(names, more, layout)
	survey.Head = head
	return survey, nil
}

// Folders is a connection to a store that has folders, with the layout of NewLayout.
type Folders interface {
	// Names returns the names in a folder below the place of the replica, in any
	// order, with a slash at the ends of those of folders. dir is as for Survey. If
	// there is no such folder, there are no names.
	Names(ctx context.Context, dir string) ([]string, error)

	// Head returns the first SurveyHeadSize bytes of the file at the place of the
	// replica, or nil if there is none or the client may not read it.
	Head(ctx context.Context) ([]byte, error)
}

// SurveyFolders implements Survey for a client of a store that has folders. Where a file
// is at the place of the replica, an error of Names does not matter.
func SurveyFolders[S Folders](ctx context.Context, dir string, connect func(context.Context) (S, error)) (Survey, error) {
	err := CheckDir(dir)
	var s S
	if err == nil {
		s, err = connect(ctx)
	}
	if err != nil {
		return Survey{}, fmt.Errorf("survey replica: %w", err)
	}
	var failed error // of Names
	names, _, head, err := look(ctx, func(ctx context.Context) ([]string, bool, error) {
		var names []string
		names, failed = s.Names(ctx, dir)
		return names, false, nil
	}, func(ctx context.Context) ([]byte, error) {
		if dir != "" {
			return nil, nil
		}
		return s.Head(ctx)
	})
	if len(head) == 0 {
		err = cmp.Or(failed, err)
	}
	if err != nil {
		return Survey{}, fmt.Errorf("survey replica: %w", err)
	}
	survey := NewSurvey(names, false, NewLayout(""))
	survey.Head = head
	return survey, nil
}

// look asks for names and for the first bytes of a file at the same time. It returns
// the error of names before that of head.
func look(ctx context.Context, names func(context.Context) ([]string, bool, error), head func(context.Context) ([]byte, error)) (found []string, more bool, begin []byte, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var headErr error
	done := make(chan struct{}) // the goroutine does not outlive the call
	go func() {
		defer close(done)
		begin, headErr = head(ctx)
	}()
	found, more, err = names(ctx)
	if err != nil {
		cancel()
	}
	<-done
	return found, more, begin, cmp.Or(err, headErr)
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
