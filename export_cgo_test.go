//go:build cgo

package litestream

// RegisterVFSFunc is RegisterVFS for a name that serves one VFS after another: what
// vfs returns.
func RegisterVFSFunc(name string, vfs func() *VFS) error { return registerVFS(name, vfs) }

// Inferring returns the number of open files whose commits are inferred, for
// psanford/sqlite3vfs.
func Inferring(v *VFS) int { return v.adapter().files.Len() }
