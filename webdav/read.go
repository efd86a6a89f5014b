package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// deletions is the number of deletions that are under way at the same time.
const deletions = 16

// OpenLTXFile implements replica.Client.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return clientio.Open(ctx, clientio.NewFile(level, minTXID, maxTXID), offset, size, c.connect, (*session).open)
}

// open reads a range of a file, to its end if size is 0.
func (s *session) open(ctx context.Context, file clientio.File, offset, size int64) (io.ReadCloser, error) {
	return s.read(ctx, s.layout.Key(file.Level, file.MinTXID, file.MaxTXID), offset, size)
}

// read reads a range of what has a name at the server.
func (s *session) read(ctx context.Context, name string, offset, size int64) (io.ReadCloser, error) {
	header := http.Header{}
	if offset > 0 || size > 0 {
		header.Set("Range", clientio.RangeHeader(offset, size))
	}
	resp, err := s.send(ctx, http.MethodGet, name, header, nil)
	if err != nil {
		return nil, err
	}
	if !clientio.IsWebBody(resp) {
		err := s.refusal(resp)
		if errors.Is(err, errAbsent) {
			return nil, fs.ErrNotExist
		}
		return nil, err
	}
	return clientio.WebBody(ctx, resp, offset, size, func(int64) string { return versionOf(resp.Header.Get("ETag")) })
}

// DeleteLTXFiles implements replica.Client. It stops when a file cannot be deleted.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	if err := c.deleteFiles(ctx, a); err != nil {
		return fmt.Errorf("delete ltx files: %w", err)
	}
	return nil
}

func (c *ReplicaClient) deleteFiles(ctx context.Context, a []*ltx.FileInfo) error {
	if err := clientio.CheckInfos(a); err != nil {
		return err
	}
	s, err := c.connect(ctx)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(deletions)
	for _, info := range a {
		group.Go(func() error { return s.remove(groupCtx, s.layout.Key(info.Level, info.MinTXID, info.MaxTXID)) })
	}
	return clientio.WithCause(ctx, group.Wait())
}

// remove deletes a file, if there is one.
func (s *session) remove(ctx context.Context, name string) error {
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		status, _, err := s.do(ctx, http.MethodDelete, name, nil, nil, http.StatusOK, http.StatusAccepted, http.StatusNoContent)
		if errors.Is(err, errAbsent) {
			return nil
		}
		// Some servers lock a name while they delete it for another client.
		if status != http.StatusLocked || !clientio.Pause(ctx, wait) {
			return err
		}
	}
}

// Survey implements replica.Surveyor.
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
	entries, err := s.folder(ctx, clientio.NewLayout(s.place).Below(dir))
	if err != nil && !errors.Is(err, errAbsent) {
		return survey, err
	}
	var names []string
	for _, e := range entries {
		if e.dir {
			e.name += "/"
		}
		names = append(names, e.name)
	}
	survey = clientio.NewSurvey(names, false, clientio.NewLayout(""))
	if errors.Is(err, errAbsent) && dir == "" {
		survey.Head, err = s.head(ctx)
		return survey, err
	}
	return survey, nil
}

// head returns the first bytes of the file at the place of the replica, or nil if
// there is none.
func (s *session) head(ctx context.Context) ([]byte, error) {
	r, err := s.read(ctx, s.place, 0, clientio.SurveyHeadSize)
	if err != nil {
		return nil, ctx.Err() // there is no file, or a page in its place
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}
