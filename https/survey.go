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
	survey, err := clientio.SurveyFolders(ctx, dir, c.connect)
	return replica.Survey(survey), err
}

// Names implements clientio.Folders.
func (s *session) Names(ctx context.Context, dir string) (names []string, err error) {
	entries, err := s.folder(ctx, dir)
	switch {
	case errors.Is(err, clientio.ErrAbsent) && dir != "":
		return nil, nil // it was in the listing of the place, and is gone
	case errors.Is(err, clientio.ErrAbsent), errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the server lists no folders: %w", errors.ErrUnsupported)
	case err != nil:
		return nil, err
	}
	for _, e := range entries {
		switch {
		case e.dir:
			names = append(names, e.name+"/")
		case dir != "" || e.name != webindex.Name: // which is a part of the replica
			names = append(names, e.name)
		}
	}
	return names, nil
}

// Head implements clientio.Folders.
func (s *session) Head(ctx context.Context) ([]byte, error) {
	if s.base.Path == "/" {
		return nil, nil
	}
	u := *s.base
	u.Path = strings.TrimSuffix(u.Path, "/")
	body, err := s.read(ctx, clientio.File{Level: -1}, &u, 0, clientio.SurveyHeadSize)
	if err != nil {
		return nil, ctx.Err() // there is no file, or a page in its place
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}
