package file

import (
	"fmt"
	"io/fs"
	"os"
)

// openFile opens a file of the replica to read it. What is neither a regular file nor
// a folder is no LTX file, and not in listings either: the open of a named pipe would
// wait for its other end, and a device may never end.
func openFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|noWait, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = fmt.Errorf("%s is no regular file, but %s: %w", name, info.Mode().Type(), fs.ErrNotExist)
	}
	if err != nil {
		_ = f.Close() // nothing was read
		return nil, err
	}
	return f, nil
}
