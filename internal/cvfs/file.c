//go:build cgo

// The methods of the files of replicas, which the Go side serves, and of files that could
// not be opened.

#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

static int fileClose(sqlite3_file *f) {
  if (ls_forked) return SQLITE_OK;  // a child closes its files when it ends
  return ls_failed(litestreamClose(((ls_file*)f)->handle));
}

static int fileRead(sqlite3_file *f, void *p, int n, sqlite3_int64 off) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return ls_failed(litestreamRead(((ls_file*)f)->handle, p, n, off));
}

static int fileWrite(sqlite3_file *f, const void *p, int n, sqlite3_int64 off) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return ls_failed(litestreamWrite(((ls_file*)f)->handle, (void*)p, n, off));
}

static int fileTruncate(sqlite3_file *f, sqlite3_int64 size) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return ls_failed(litestreamTruncate(((ls_file*)f)->handle, size));
}

static int fileSync(sqlite3_file *f, int flags) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return ls_failed(litestreamSync(((ls_file*)f)->handle, flags));
}

static int fileSize(sqlite3_file *f, sqlite3_int64 *size) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return ls_failed(litestreamSize(((ls_file*)f)->handle, size));
}

static int fileLock(sqlite3_file *f, int level) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return ls_failed(litestreamLock(((ls_file*)f)->handle, level));
}

static int fileUnlock(sqlite3_file *f, int level) {
  if (ls_forked) return SQLITE_OK;
  return ls_failed(litestreamUnlock(((ls_file*)f)->handle, level));
}

static int fileCheckReserved(sqlite3_file *f, int *out) {
  (void)f;
  *out = 0;  // asked only when a journal exists, and none ever does
  return ls_is_forked() ? SQLITE_MISUSE : SQLITE_OK;
}

static int fileSectorSize(sqlite3_file *f) { return (void)f, LS_SECTOR_SIZE; }
static int fileCharacteristics(sqlite3_file *f) { return (void)f, SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

// requestPragma gives SQLite the text of a PRAGMA's error, too.
static int requestPragma(ls_file *f, char **arg) {
  ls_request r = {arg[1], arg[2], 0, 0, 1};
  int rc;
  if (ls_is_forked()) {
    arg[0] = sqlite3_mprintf("%s", LS_FORKED);
    return SQLITE_MISUSE;
  }
  rc = litestreamRequest(f->handle, &r);
  if (rc == SQLITE_NOTFOUND) return rc;
  if (r.error) {
    arg[0] = sqlite3_mprintf("%s", r.error);
  } else if (r.result) {
    arg[0] = sqlite3_mprintf("%s", r.result);
  } else if (rc == SQLITE_OK) {
    rc = SQLITE_NOTFOUND;  // with SQLITE_OK there would be a column without a name, which CPython takes for a lack of memory
  }
  free(r.result);
  free(r.error);
  return ls_failed(rc);
}

static int fileControl(sqlite3_file *file, int op, void *arg) {
  ls_file *f = (ls_file*)file;
  int rc;
  switch (op) {
  case SQLITE_FCNTL_PRAGMA:
    return requestPragma(f, arg);
  case SQLITE_FCNTL_SYNC:  // the end of every transaction that wrote; arg is a super-journal's name, if it has one
    if (ls_is_forked()) return SQLITE_MISUSE;
    rc = ls_failed(litestreamBeforeSync(f->handle, arg != 0));
    return rc ? rc : SQLITE_NOTFOUND;
  case SQLITE_FCNTL_COMMIT_PHASETWO:  // the last step of every commit, before the lock is given up
    if (ls_is_forked()) return SQLITE_MISUSE;
    return ls_failed(litestreamCommit(f->handle));
  case SQLITE_FCNTL_PDB:  // when the file is opened, with the connection that opens it
    if (!ls_forked && arg) litestreamConnection(f->handle, *(sqlite3**)arg);
    return SQLITE_OK;
  case SQLITE_FCNTL_VFSNAME:
    *(char**)arg = sqlite3_mprintf("%s", f->vfs->base.zName);
    return SQLITE_OK;
  case LS_FCNTL_FILE:
    *(ls_file**)arg = f;
    return SQLITE_OK;
  case LS_FCNTL_REQUEST:
    ((ls_request*)arg)->served = 1;
    if (ls_is_forked()) {
      ((ls_request*)arg)->error = strdup(LS_FORKED);
      return SQLITE_MISUSE;
    }
    return ls_failed(litestreamRequest(f->handle, arg));
  case LS_FCNTL_CHANGES:
    if (ls_is_forked()) {
      ((ls_changes*)arg)->error = strdup(LS_FORKED);
      return SQLITE_MISUSE;
    }
    return ls_failed(litestreamChanges(f->handle, arg));
  }
  return SQLITE_NOTFOUND;
}

// Version 1: no shared memory, so SQLite does not try WAL mode, and no memory map.
const sqlite3_io_methods ls_file_methods = {
  1, fileClose, fileRead, fileWrite, fileTruncate, fileSync, fileSize, fileLock, fileUnlock,
  fileCheckReserved, fileControl, fileSectorSize, fileCharacteristics,
};

// Files that could not be opened.
//
// If xOpen fails, sqlite3_open says no more than that it did. So xOpen gives a file
// that looks empty when SQLite reads the header at opening, and fails at its first
// use. In between SQLite calls the automatic extension, whose error has a text.

static int failedClose(sqlite3_file *f) {
  free(((ls_file*)f)->error);
  return SQLITE_OK;
}

static int failedRead(sqlite3_file *f, void *p, int n, sqlite3_int64 off) {
  (void)f, (void)off;
  memset(p, 0, n);
  return SQLITE_IOERR_SHORT_READ;
}

static int failedWrite(sqlite3_file *f, const void *p, int n, sqlite3_int64 off) {
  (void)f, (void)p, (void)n, (void)off;
  return ls_failed(SQLITE_CANTOPEN);
}

static int failedSize(sqlite3_file *f, sqlite3_int64 *size) {
  (void)f;
  *size = 0;
  return ls_failed(SQLITE_CANTOPEN);
}

static int failedTruncate(sqlite3_file *f, sqlite3_int64 size) { return (void)f, (void)size, ls_failed(SQLITE_CANTOPEN); }
static int failedSync(sqlite3_file *f, int flags) { return (void)f, (void)flags, ls_failed(SQLITE_CANTOPEN); }
static int failedLock(sqlite3_file *f, int level) { return (void)f, (void)level, ls_failed(SQLITE_CANTOPEN); }
static int failedUnlock(sqlite3_file *f, int level) { return (void)f, (void)level, SQLITE_OK; }
static int failedCheckReserved(sqlite3_file *f, int *out) { return (void)f, *out = 0, ls_failed(SQLITE_CANTOPEN); }
static int failedSectorSize(sqlite3_file *f) { return (void)f, LS_SECTOR_SIZE; }
static int failedCharacteristics(sqlite3_file *f) { return (void)f, 0; }

static int failedControl(sqlite3_file *file, int op, void *arg) {
  ls_file *f = (ls_file*)file;
  switch (op) {
  case LS_FCNTL_FILE:
    *(ls_file**)arg = f;
    return SQLITE_OK;
  case LS_FCNTL_REQUEST:
    ((ls_request*)arg)->error = strdup(f->error ? f->error : "out of memory");
    return SQLITE_CANTOPEN;
  case LS_FCNTL_CHANGES:
    ((ls_changes*)arg)->error = strdup(f->error ? f->error : "out of memory");
    return SQLITE_CANTOPEN;
  }
  return SQLITE_NOTFOUND;
}

const sqlite3_io_methods ls_failed_methods = {
  1, failedClose, failedRead, failedWrite, failedTruncate, failedSync, failedSize, failedLock, failedUnlock,
  failedCheckReserved, failedControl, failedSectorSize, failedCharacteristics,
};
