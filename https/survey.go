package https

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/webindex"
	"github.com/ltxvfs/litestream/replica"
)

// Survey implements replica.Surveyor, by a listing of the folder. It returns
// errors.ErrUnsupported if the server lists no folders.
func (c *ReplicaClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	survey, err := c.survey(ctx, dir)
	if err != nil {
		return replica.Survey{}, fmt.Errorf("survey replica: %w", err)
	}
	return replica.Survey(survey), nil
}

func (c *ReplicaClient) survey(ctx context.Context, dir string) (survey clientio.Survey, err error) {
	if err := clientio.CheckDir(dir); err != nil {
		return survey, err
	}
	s, err := c.connect(ctx)
	if err != nil {
		return survey, err
	}
	type result struct {
		head []byte
		err  error
	}
	headCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	heads := make(chan result, 1)
	go func() {
		if dir != "" || s.base.Path == "/" {
			heads <- result{}
			return
		}
		head, err := s.head(headCtx)
		heads <- result{head, err}
	}()
	entries, err := s.folder(ctx, dir)
	if err != nil {
		cancel()
	}
	h := <-heads // the goroutine does not outlive the call
	switch {
	case errors.Is(err, errAbsent) && dir != "":
		// It was in the listing of the place, and is gone.
	case errors.Is(err, errAbsent), errors.Is(err, fs.ErrPermission):
		return survey, fmt.Errorf("the server lists no folders: %w", errors.ErrUnsupported)
	case err != nil:
		return survey, err
	case h.err != nil:
		return survey, h.err
	}
	var names []string
	for _, e := range entries {
		switch {
		case e.dir:
			names = append(names, e.name+"/")
		case dir != "" || e.name != webindex.Name: // which is a part of the replica
			names = append(names, e.name)
		}
	}
	survey = clientio.NewSurvey(names, false, plainLayout)
	survey.Head = h.head
	return survey, nil
}

// head returns the first bytes of the file at the place of the replica, or nil if
// there is none.
func (s *session) head(ctx context.Context) ([]byte, error) {
	u := *s.base
	u.Path = strings.TrimSuffix(u.Path, "/")
	body, err := s.read(ctx, clientio.File{Level: -1}, &u, 0, clientio.SurveyHeadSize)
	var permanent interface{ Permanent() bool }
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.As(err, &permanent) && permanent.Permanent(), err != nil && ctx.Err() == nil:
		return nil, nil // for example a page
	case err != nil:
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}
