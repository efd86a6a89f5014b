//go:build SQLITE3VFS_LOADABLE_EXT

// The VFS as SQLite sees it: the Go side serves replicas. Everything else is served by the
// VFS that was the default when this one was registered, on files that are wholly its
// own. So plain files keep WAL, memory maps and locks of other processes.

#define _GNU_SOURCE  // dladdr

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "_cgo_export.h"

static sqlite3_vfs *os;  // of the operating system
static sqlite3_vfs vfs;
static int madeDefault;

static int isDefault(void) { return madeDefault || sqlite3_vfs_find(0) == &vfs; }

// isOursForked reports, without Go, whether a file may be a replica's or its journal.
static int isOursForked(const char *name, int flags) {
  const char *first = ls_bound(), *url = getenv("LITESTREAM_REPLICA_URL");
  if (!isDefault() || sqlite3_uri_parameter(name, "replica_url") || sqlite3_uri_parameter(name, "vfs")) return 1;
  if (first) {
    size_t n = strlen(first);
    return strncmp(first, name, n) == 0 && (name[n] == 0 || name[n] == '-');
  }
  return flags & SQLITE_OPEN_MAIN_DB && url && *url && !ls_exists(name);
}

// openForked opens a file in a forked process, if it can tell that it is a plain one.
static int openForked(const char *name, ls_file *f, int flags, int *out) {
  const char *local = getenv("LITESTREAM_LOCAL_FILES");
  int ours = isOursForked(name, flags), isMain = flags & SQLITE_OPEN_MAIN_DB;
  if (!ours && !(isMain && local && strcmp(local, "none") == 0)) return os->xOpen(os, name, &f->base, flags, out);
  if (ours) ls_is_forked();
  if (!isMain) return SQLITE_CANTOPEN;
  f->error = strdup(ours ? LS_FORKED : "litestream: LITESTREAM_LOCAL_FILES allows no local files");
  f->base.pMethods = &ls_failed_methods;
  return SQLITE_OK;
}

// keepStandardFiles keeps files of ours from getting number 0, 1 or 2, since programs
// write to these as the standard ones. SQLite does the same for its own files.
static void keepStandardFiles(void) {
  int fd;
  for (fd = 0; fd < 3; fd++) {
    while (fcntl(fd, F_GETFD) < 0) {
      int null = open("/dev/null", O_RDWR);
      if (null < 0) return;
      if (null > fd) close(null);
    }
  }
}

// SQLite does not tell a VFS that it opens a file for its shared cache. But it has the name
// resolved twice then: to look for a file that is open, and to open it.

static __thread struct {
  uint64_t name;  // a hash of what was resolved last, 0 once it is open
  int times;      // in a row
} resolved;

static uint64_t hashOf(const char *s) {
  uint64_t h = 14695981039346656037u;  // FNV-1a
  for (; *s; s++) h = (h ^ (unsigned char)*s) * 1099511628211u;
  return h | 1;
}

static void noteResolved(const char *name) {
  uint64_t h = hashOf(name);
  if (resolved.name != h) resolved.times = 0;
  resolved.name = h;
  resolved.times++;
}

// isForSharedCache reports whether the main database that is opened now is to be shared.
static int isForSharedCache(const char *name) {
  int is = resolved.name == hashOf(name) && resolved.times > 1;
  resolved.name = 0;
  return is;
}

static int vfsOpen(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags, int *out) {
  const int temporary = SQLITE_OPEN_TEMP_DB | SQLITE_OPEN_TEMP_JOURNAL | SQLITE_OPEN_TRANSIENT_DB | SQLITE_OPEN_SUBJOURNAL;
  ls_file *f = (ls_file*)file;
  int got = flags, shared = 0, rc;
  (void)v;
  memset(f, 0, sizeof *f);
  if (!name || flags & temporary) return os->xOpen(os, name, file, flags, out);
  if (flags & SQLITE_OPEN_MAIN_DB && isForSharedCache(name)) shared = SQLITE_OPEN_SHAREDCACHE;
  if (ls_forked) return openForked(name, f, flags, out);
  keepStandardFiles();
  switch (litestreamOpen((char*)name, flags | shared, isDefault(), &got, &f->handle, &f->error)) {
  case LS_LOCAL:
    rc = os->xOpen(os, name, file, flags, out);
    if (rc && flags & SQLITE_OPEN_MAIN_DB) litestreamNotOpened((char*)name);
    return rc;
  case LS_OPENED:
    f->base.pMethods = &ls_file_methods;
    break;
  default:
    if (!(flags & SQLITE_OPEN_MAIN_DB)) {
      free(f->error);
      return SQLITE_CANTOPEN;
    }
    f->base.pMethods = &ls_failed_methods;
  }
  if (out) *out = got;
  return SQLITE_OK;
}

static int vfsDelete(sqlite3_vfs *v, const char *name, int sync) {
  int rc;
  (void)v;
  if (!ls_forked && litestreamDelete((char*)name, &rc)) return rc;
  return os->xDelete(os, name, sync);
}

static int vfsAccess(sqlite3_vfs *v, const char *name, int flags, int *out) {
  int rc;
  (void)v;
  if (!ls_forked && litestreamAccess((char*)name, out, &rc)) return rc;
  return os->xAccess(os, name, flags, out);
}

static int vfsFullPathname(sqlite3_vfs *v, const char *name, int n, char *out) {
  int rc = os->xFullPathname(os, name, n, out);
  (void)v;
  if ((rc & 0xff) == SQLITE_CANTOPEN && name[0] == '/' && (int)strlen(name) < n) {
    strcpy(out, name);  // a replica's need not be a path that can be
    rc = SQLITE_OK;
  }
  if ((rc & 0xff) == SQLITE_OK) noteResolved(out);
  return rc;
}

static void *vfsDlOpen(sqlite3_vfs *v, const char *path) { return (void)v, os->xDlOpen(os, path); }
static void vfsDlError(sqlite3_vfs *v, int n, char *text) { (void)v, os->xDlError(os, n, text); }
static void (*vfsDlSym(sqlite3_vfs *v, void *h, const char *name))(void) { return (void)v, os->xDlSym(os, h, name); }
static void vfsDlClose(sqlite3_vfs *v, void *h) { (void)v, os->xDlClose(os, h); }
static int vfsRandomness(sqlite3_vfs *v, int n, char *out) { return (void)v, os->xRandomness(os, n, out); }
static int vfsSleep(sqlite3_vfs *v, int us) { return (void)v, os->xSleep(os, us); }
static int vfsCurrentTime(sqlite3_vfs *v, double *t) { return (void)v, os->xCurrentTime(os, t); }
static int vfsLastError(sqlite3_vfs *v, int n, char *text) { return (void)v, os->xGetLastError ? os->xGetLastError(os, n, text) : 0; }

static int vfsCurrentTimeInt64(sqlite3_vfs *v, sqlite3_int64 *t) {
  double days;
  int rc;
  (void)v;
  if (os->iVersion >= 2 && os->xCurrentTimeInt64) return os->xCurrentTimeInt64(os, t);
  rc = os->xCurrentTime(os, &days);
  *t = (sqlite3_int64)(days * 86400000.0);
  return rc;
}

int ls_vfs_is_registered(void) { return sqlite3_vfs_find(LS_NAME) != 0; }

int ls_vfs_register(int makeDefault) {
  if (makeDefault) madeDefault = 1;
  if (vfs.zName && sqlite3_vfs_find(LS_NAME)) {
    // Another VFS may have become the default on purpose, unless SQLite was initialized anew.
    return madeDefault && sqlite3_vfs_find(0) == os ? sqlite3_vfs_register(&vfs, 1) : SQLITE_OK;
  }
  if (!vfs.zName) {
    os = sqlite3_vfs_find(0);
    if (!os) return SQLITE_ERROR;
    vfs = (sqlite3_vfs){
      .iVersion = 2,
      .szOsFile = os->szOsFile > (int)sizeof(ls_file) ? os->szOsFile : (int)sizeof(ls_file),
      .mxPathname = os->mxPathname,
      .zName = LS_NAME,
      .xOpen = vfsOpen,
      .xDelete = vfsDelete,
      .xAccess = vfsAccess,
      .xFullPathname = vfsFullPathname,
      .xDlOpen = vfsDlOpen,
      .xDlError = vfsDlError,
      .xDlSym = vfsDlSym,
      .xDlClose = vfsDlClose,
      .xRandomness = vfsRandomness,
      .xSleep = vfsSleep,
      .xCurrentTime = vfsCurrentTime,
      .xGetLastError = vfsLastError,
      .xCurrentTimeInt64 = vfsCurrentTimeInt64,
    };
  }
  return sqlite3_vfs_register(&vfs, madeDefault);
}

const char *ls_uri_key(const char *name, int n) { return sqlite3_uri_key(name, n); }
const char *ls_uri_parameter(const char *name, const char *key) { return sqlite3_uri_parameter(name, key); }

void ls_keep_loaded(const void *in) {
  Dl_info info;
  if (dladdr((void*)in, &info) && info.dli_fname) dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

int ls_exists(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0 || errno != ENOENT;
}
