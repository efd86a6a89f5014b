package maintain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/survey"
	"github.com/ltxvfs/litestream/replica"
)

// findDepth is the number of folders below a URL in which Find looks for replicas.
const findDepth = 4

// Found are replicas below a URL.
type Found struct {
	URLs []string // in ascending order

	// Partial are the URLs of folders of which only the first
	// replica.MaxSurveyNames names were looked at.
	Partial []string
}

// Find returns the URLs of the replicas at and below a replica URL, up to four
// folders deep. The store has to be a replica.Surveyor for those below. If it finds
// none, the error is ErrNoDatabase.
func Find(ctx context.Context, url string, req Requests) (*Found, error) {
	f := &finder{requests: req}
	if err := f.look(ctx, url, 0); err != nil {
		return nil, fmt.Errorf("find replicas: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.mu.URLs)
	slices.Sort(f.mu.Partial)
	return &f.mu.Found, nil
}

// finder looks for replicas. It is safe for concurrent use.
type finder struct {
	requests Requests

	mu struct {
		sync.Mutex
		Found
	}
}

// note adds a URL to a list of the result.
func (f *finder) note(list *[]string, url string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, url)
}

// look looks at a URL and below it. At depth 0 it is an error if nothing is there.
func (f *finder) look(ctx context.Context, url string, depth int) (err error) {
	client, err := replica.NewFromURL(url)
	if err != nil {
		return err
	}
	if c, ok := client.(io.Closer); ok {
		defer func() { err = errors.Join(err, c.Close()) }()
	}
	s := newSession(client, f.requests)
	files, err := s.list(ctx)
	if err != nil {
		return err
	}
	if len(files) > 0 {
		f.note(&f.mu.URLs, url)
		return nil
	}
	within, cancel := s.within(ctx)
	defer cancel()
	at, err := s.store.Survey(within, "")
	if errors.Is(err, errors.ErrUnsupported) || err == nil && len(at.Names) == 0 {
		return atDepth(depth, s.nothing(ctx))
	}
	if err != nil {
		return err
	}
	kind, text, err := s.look(ctx)
	switch {
	case err != nil:
		return err
	case kind == survey.V3, kind == survey.LevelFolder, kind == survey.LTXFolder, kind == survey.Layout:
		return atDepth(depth, errors.New(text))
	}
	if at.More {
		f.note(&f.mu.Partial, url)
	}
	if depth == findDepth {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(DefaultConcurrency)
	for _, name := range at.Names {
		if survey.IsFolder(name) {
			g.Go(func() error { return f.look(gctx, below(url, strings.TrimSuffix(name, "/")), depth+1) })
		}
	}
	return g.Wait()
}

// atDepth returns an error that only counts for the URL that was asked for.
func atDepth(depth int, err error) error {
	if depth > 0 {
		return nil
	}
	return err
}

// below returns the URL of a folder. It keeps the parameters of the URL.
func below(url, name string) string {
	base, parameters, has := strings.Cut(url, "?")
	base = strings.TrimSuffix(base, "/") + "/" + escape(name)
	if has {
		base += "?" + parameters
	}
	return base
}

// escape percent-encodes what has a meaning in the path of a URL, and what cannot be
// printed: URLs must not contain control characters, and a terminal would obey them.
func escape(name string) string {
	var b strings.Builder
	for i, r := range name {
		_, size := utf8.DecodeRuneInString(name[i:])
		if part := name[i : i+size]; strings.ContainsRune("%?# ", r) || !unicode.IsPrint(r) || r == utf8.RuneError {
			for _, c := range []byte(part) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		} else {
			b.WriteString(part)
		}
	}
	return b.String()
}
