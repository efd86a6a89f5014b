//go:build !vfs

package main

import "errors"

func systems(binding) ([]*system, error) {
	return nil, errors.New("upstream's VFS is behind a build tag: go run -tags vfs")
}
