package maintain

import (
	"errors"
	"io/fs"
	"os"
)

// renameChecked renames a file to a name that no file has, as far as a look before
// tells.
func renameChecked(from, to string) error {
	_, err := os.Lstat(to)
	if err == nil {
		err = fs.ErrExist
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return os.Rename(from, to)
}
