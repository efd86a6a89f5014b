package sftp

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/pkg/sftp"
)

// explain returns an error of a call in the class that replica.Client asks for.
func explain(err error) error {
	var status *sftp.StatusError
	switch {
	case !errors.As(err, &status):
		return err
	case status.FxCode() == sftp.ErrSSHFxOpUnsupported:
		return fmt.Errorf("%w (%w)", err, errors.ErrUnsupported)
	}
	return err
}

// unexpected is explain for calls other than the opening of an LTX file. Their
// errors are neither fs.ErrNotExist, which would mean a missing file to the
// caller, nor fs.ErrExist.
func unexpected(what string, err error) error {
	err = explain(err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		err = errors.New(err.Error())
	}
	return fmt.Errorf("%s: %w", what, err)
}

// isFailure reports whether a server refused a call without saying why. Version 3
// of the protocol, which servers speak, has no code for a file that exists, a full
// disk or a folder that is not empty.
func isFailure(err error) bool {
	var status *sftp.StatusError
	return errors.As(err, &status) && status.FxCode() == sftp.ErrSSHFxFailure
}
