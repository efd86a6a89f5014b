//go:build !(darwin || freebsd || linux)

package litestream_test

import "errors"

func mkfifo(string) error { return errors.ErrUnsupported }
