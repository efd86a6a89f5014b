//go:build !linux && !darwin

package maintain

// renameNew renames a file to a name that no file has.
func renameNew(from, to string) error { return renameChecked(from, to) }
