//go:build !unix

package file

// noWait is nothing where folders hold no named pipes.
const noWait = 0
