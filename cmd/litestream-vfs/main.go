//go:build SQLITE3VFS_LOADABLE_EXT

// Command litestream-vfs is the loadable extension: a shared library that gives any
// program with SQLite 3.31 or later the VFS "litestream".
//
//	go build -tags SQLITE3VFS_LOADABLE_EXT,disable_grpc_modules,grpcnotrace -buildmode=c-shared -o litestream.so ./cmd/litestream-vfs
//
// The last two tags leave out gRPC, which Google's client of its storage brings and
// nothing uses: the library has half the size and loads in less time.
//
// Package cvfs is the VFS as SQLite sees it. extension.c registers it, and
// engine.go serves it as the environment says.
package main

/*
#cgo CFLAGS: -fvisibility=hidden -I${SRCDIR}/../../internal/cvfs
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>
#include "extension.h"
*/
import "C"

import (
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"unsafe"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/abs"
	_ "github.com/ltxvfs/litestream/file"
	_ "github.com/ltxvfs/litestream/gs"
	_ "github.com/ltxvfs/litestream/https"
	"github.com/ltxvfs/litestream/internal/cvfs"
	"github.com/ltxvfs/litestream/internal/extension"
	_ "github.com/ltxvfs/litestream/nats"
	_ "github.com/ltxvfs/litestream/oss"
	_ "github.com/ltxvfs/litestream/s3"
	_ "github.com/ltxvfs/litestream/sftp"
	_ "github.com/ltxvfs/litestream/webdav"
)

func main() {}

// The state of the extension, one for the process.
var (
	logs   extension.Log
	logger = logs.Logger()
	router extension.Router
	vfs    = litestream.NewVFS(nil, &litestream.Options{Logger: logger})

	environments sync.Mutex // duty: one reads and copies the environment at a time
)

// environment reads the environment of C. Go made its copy when the library was
// loaded, so environment also updates that copy, which the SDKs of the stores read.
func environment() extension.Environment {
	environments.Lock()
	defer environments.Unlock()
	e := make(extension.Environment)
	all := C.ls_environment()
	for at := all; at != nil && *at != nil; at = (**C.char)(unsafe.Add(unsafe.Pointer(at), unsafe.Sizeof(*at))) {
		s := *at
		name, value, ok := strings.Cut(C.GoString(s), "=")
		C.free(unsafe.Pointer(s))
		if _, has := e[name]; ok && !has { // the first one counts, as for getenv
			e[name] = value
		}
	}
	C.free(unsafe.Pointer(all))
	for _, s := range os.Environ() {
		if name, _, _ := strings.Cut(s, "="); name != "" {
			if _, ok := e[name]; !ok {
				_ = os.Unsetenv(name)
			}
		}
	}
	for name, value := range e {
		if old, ok := os.LookupEnv(name); !ok || old != value {
			_ = os.Setenv(name, value)
		}
	}
	return e
}

// litestreamConfigure reads the environment when the extension is loaded, and makes
// the VFS. It returns the text of an error, or nil.
//
//export litestreamConfigure
func litestreamConfigure(isDefault *C.int, made *unsafe.Pointer) (wrong *C.char) {
	defer guard("load", func() { wrong = C.CString("panic, see the log") })
	slog.SetDefault(logger) // for the SDKs of the stores
	e := environment()
	err := logs.Configure(e)
	if err == nil {
		err = e.Check()
	}
	var v *cvfs.VFS
	if err == nil {
		v, err = cvfs.New(C.LS_NAME, engine{})
	}
	if err != nil {
		return C.CString(err.Error())
	}
	for _, sentence := range e.Unknown() {
		logger.Warn(sentence)
	}
	*made = v.Pointer()
	if is, _ := e.IsDefaultVFS(); is {
		*isDefault = 1
	}
	return nil
}

// guard, deferred, keeps a panic from C.
func guard(op string, failed func()) {
	if r := recover(); r != nil {
		logger.Error("panic", "op", op, "panic", r, "stack", string(debug.Stack()))
		failed()
	}
}
