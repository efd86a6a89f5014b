package sftp

import (
	"context"
	"fmt"
	"io"
	"path"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// Survey implements replica.Surveyor. A link to a folder does not count as one.
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
	heads := make(chan []byte, 1)
	headCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		if dir != "" {
			heads <- nil
			return
		}
		heads <- s.head(headCtx)
	}()
	names, err := s.namesIn(ctx, path.Join(s.path, dir))
	if err != nil {
		cancel()
	}
	head := <-heads // the goroutine does not outlive the call
	if err != nil && len(head) == 0 {
		return survey, err
	}
	survey = clientio.NewSurvey(names, false, clientio.NewLayout(""))
	survey.Head = head
	return survey, nil
}

// namesIn returns the names in a folder, with a slash at the ends of those of
// folders.
func (s *session) namesIn(ctx context.Context, dir string) ([]string, error) {
	entries, err := s.readDir(ctx, dir)
	names := make([]string, len(entries))
	for i, entry := range entries {
		if names[i] = entry.Name(); entry.IsDir() {
			names[i] += "/"
		}
	}
	return names, err
}

// head returns the first bytes of the file at the place of the replica. They are
// nil if there is no file, or if it cannot be read.
func (s *session) head(ctx context.Context) []byte {
	body, err := s.openPath(ctx, path.Clean(s.path), 0, clientio.SurveyHeadSize)
	if err != nil {
		return nil
	}
	defer func() { _ = body.Close() }() // only read
	b, err := io.ReadAll(body)
	if err != nil {
		return nil
	}
	return b
}
