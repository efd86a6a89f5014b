package webdav

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/superfly/ltx"

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
	return clientio.WebRead{
		Send: func(header http.Header) (*http.Response, error) {
			return s.send(ctx, http.MethodGet, name, header, nil)
		},
		Refusal: s.refusal,
		Version: func(header http.Header, _ int64) string { return versionOf(header.Get("ETag")) },
	}.Open(ctx, offset, size)
}

// DeleteLTXFiles implements replica.Client. It stops when a file cannot be deleted.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	return clientio.Delete(ctx, a, deletions, c.connect, (*session).delete)
}

// delete deletes an LTX file, if there is one.
func (s *session) delete(ctx context.Context, file clientio.File) error {
	return s.remove(ctx, s.layout.Key(file.Level, file.MinTXID, file.MaxTXID))
}

// remove deletes a file, if there is one.
func (s *session) remove(ctx context.Context, name string) error {
	_, err := whenFree(ctx, func() (int, error) {
		status, _, err := s.do(ctx, http.MethodDelete, name, nil, nil, http.StatusOK, http.StatusAccepted, http.StatusNoContent)
		return status, err
	})
	if errors.Is(err, clientio.ErrAbsent) {
		return nil
	}
	return err
}

// Survey implements replica.Surveyor.
func (c *ReplicaClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	survey, err := clientio.SurveyFolders(ctx, dir, c.connect)
	return replica.Survey(survey), err
}

// Names implements clientio.Folders.
func (s *session) Names(ctx context.Context, dir string) ([]string, error) {
	entries, err := s.folder(ctx, clientio.NewLayout(s.place).Below(dir))
	if errors.Is(err, clientio.ErrAbsent) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.dir {
			e.name += "/"
		}
		names = append(names, e.name)
	}
	return names, err
}

// Head implements clientio.Folders.
func (s *session) Head(ctx context.Context) ([]byte, error) {
	r, err := s.read(ctx, s.place, 0, clientio.SurveyHeadSize)
	if err != nil {
		return nil, ctx.Err() // there is no file, or a folder or a page in its place
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}
