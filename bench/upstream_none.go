//go:build !vfs

package main

import "errors"

func systems() ([]*system, error) {
	return nil, errors.New("upstream's VFS is behind a build tag: go run -tags vfs")
}
