package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

// Survey implements replica.Surveyor. A link to a folder counts as a folder.
func (c *ReplicaClient) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	survey, err := c.survey(ctx, dir)
	if err != nil {
		return replica.Survey{}, fmt.Errorf("survey replica: %w", classify(err))
	}
	return replica.Survey(survey), nil
}

func (c *ReplicaClient) survey(ctx context.Context, dir string) (survey clientio.Survey, err error) {
	if err := clientio.CheckDir(dir); err != nil {
		return survey, err
	}
	if _, err := c.ready(ctx); err != nil {
		return survey, err
	}
	path := filepath.Join(c.dir, filepath.FromSlash(dir))
	var names []string
	var head []byte
	switch fi, serr := os.Stat(path); {
	case isAbsent(serr):
	case serr != nil:
		err = serr
	case fi.IsDir():
		names, err = namesIn(path)
	case fi.Mode().IsRegular() && dir == "":
		head, err = readHead(path)
	}
	survey = clientio.NewSurvey(names, false, clientio.NewLayout(""))
	survey.Head = head
	return survey, err
}

// namesIn returns the names in a folder, with a slash at the ends of those of
// folders.
func namesIn(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
		isDir := entry.IsDir()
		if entry.Type()&fs.ModeSymlink != 0 {
			fi, err := os.Stat(filepath.Join(path, entry.Name()))
			isDir = err == nil && fi.IsDir()
		}
		if isDir {
			names[i] += "/"
		}
	}
	return names, nil
}

// readHead returns the first bytes of a file.
func readHead(path string) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	head := make([]byte, clientio.SurveyHeadSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return head[:n], nil
}
