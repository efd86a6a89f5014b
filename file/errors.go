package file

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// lasting are errors of the operating system that a repetition of the call does
// not cure, besides those that are fs.ErrPermission and the like: the path leads
// through a file, is too long, has a loop of links or a character that no path
// can have, is a folder, or lies on a file system that cannot be written to.
var lasting = []error{syscall.ENOTDIR, syscall.ENAMETOOLONG, syscall.ELOOP, syscall.EINVAL, syscall.EISDIR, syscall.EROFS}

// classify returns err in the class that replica.Client asks for.
func classify(err error) error {
	for _, target := range lasting {
		if errors.Is(err, target) && !errors.Is(err, fs.ErrNotExist) {
			return clientio.Permanent(err)
		}
	}
	return err
}

// isAbsent reports whether err says that nothing has a path, because a folder of
// the path does not exist or is a file.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
