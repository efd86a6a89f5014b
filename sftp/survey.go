package sftp

import (
	"context"
	"io"
	"path"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// Survey implements replica.Surveyor. A link to a folder does not count as one.
func (c *ReplicaClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	survey, err := clientio.SurveyFolders(ctx, dir, c.connect)
	return replica.Survey(survey), err
}

// Names implements clientio.Folders.
func (s *session) Names(ctx context.Context, dir string) ([]string, error) {
	entries, err := s.readDir(ctx, path.Join(s.path, dir))
	names := make([]string, len(entries))
	for i, entry := range entries {
		if names[i] = entry.Name(); entry.IsDir() {
			names[i] += "/"
		}
	}
	return names, err
}

// Head implements clientio.Folders.
func (s *session) Head(ctx context.Context) ([]byte, error) {
	body, err := s.openPath(ctx, path.Clean(s.path), 0, clientio.SurveyHeadSize)
	if err != nil {
		return nil, nil // there is no file, or it cannot be read
	}
	defer func() { _ = body.Close() }() // only read
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, nil // a folder
	}
	return b, nil
}
