//go:build SQLITE3VFS_LOADABLE_EXT

// The VFS as SQLite sees it: replicas are served by the Go side, everything else
// by the VFS that was the default when this one was registered, on files that are
// wholly its own. So plain files keep WAL, memory maps and locks of other processes.

#define _GNU_SOURCE  // dladdr

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "_cgo_export.h"

extern char **environ;

static sqlite3_vfs *os;  // of the operating system
static sqlite3_vfs vfs;
static int madeDefault;

// --- fork

static volatile int forked;
static char *bound;  // atomic: a child may be forked whenever

static void afterFork(void) { forked = 1; }

// Go runs from when the library is loaded, before SQLite calls it.
__attribute__((constructor)) static void watchFork(void) { pthread_atfork(0, 0, afterFork); }

// Go's threads are not there after fork: whoever calls it waits for ever.
int ls_is_forked(void) {
  static volatile int told;
  if (!forked) return 0;
  if (!told) {
    static const char text[] = LS_FORKED "\n";
    told = 1;
    ssize_t ignored = write(2, text, sizeof text - 1);
    (void)ignored;
  }
  return 1;
}

void ls_set_bound(const char *path) {
  const char *old = __atomic_load_n(&bound, __ATOMIC_ACQUIRE);
  if (!old && *path) __atomic_store_n(&bound, strdup(path), __ATOMIC_RELEASE);  // it stays
}

// --- files

static int fileClose(sqlite3_file *f) {
  if (forked) return SQLITE_OK;  // which every child does that ends
  return litestreamClose(((ls_file*)f)->handle);
}

static int fileRead(sqlite3_file *f, void *p, int n, sqlite3_int64 off) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return litestreamRead(((ls_file*)f)->handle, p, n, off);
}

static int fileWrite(sqlite3_file *f, const void *p, int n, sqlite3_int64 off) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return litestreamWrite(((ls_file*)f)->handle, (void*)p, n, off);
}

static int fileTruncate(sqlite3_file *f, sqlite3_int64 size) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return litestreamTruncate(((ls_file*)f)->handle, size);
}

static int fileSync(sqlite3_file *f, int flags) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return litestreamSync(((ls_file*)f)->handle, flags);
}

static int fileSize(sqlite3_file *f, sqlite3_int64 *size) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return litestreamSize(((ls_file*)f)->handle, size);
}

static int fileLock(sqlite3_file *f, int level) {
  if (ls_is_forked()) return SQLITE_MISUSE;
  return litestreamLock(((ls_file*)f)->handle, level);
}

static int fileUnlock(sqlite3_file *f, int level) {
  if (forked) return SQLITE_OK;
  return litestreamUnlock(((ls_file*)f)->handle, level);
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
  ls_request r = {arg[1], arg[2], 0, 0};
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
  return rc;
}

static int fileControl(sqlite3_file *file, int op, void *arg) {
  ls_file *f = (ls_file*)file;
  switch (op) {
  case SQLITE_FCNTL_PRAGMA:
    return requestPragma(f, arg);
  case SQLITE_FCNTL_SYNC:  // the end of every transaction that wrote, committed or rolled back
    if (!ls_is_forked()) litestreamBeforeSync(f->handle);
    return SQLITE_NOTFOUND;
  case SQLITE_FCNTL_COMMIT_PHASETWO:  // the last step of every commit, before the lock is given up
    if (ls_is_forked()) return SQLITE_MISUSE;
    return litestreamCommit(f->handle);
  case SQLITE_FCNTL_VFSNAME:
    *(char**)arg = sqlite3_mprintf("%s", LS_NAME);
    return SQLITE_OK;
  case LS_FCNTL_FILE:
    *(ls_file**)arg = f;
    return SQLITE_OK;
  case LS_FCNTL_REQUEST:
    if (ls_is_forked()) {
      ((ls_request*)arg)->error = strdup(LS_FORKED);
      return SQLITE_MISUSE;
    }
    return litestreamRequest(f->handle, arg);
  }
  return SQLITE_NOTFOUND;
}

// Version 1: no shared memory, so SQLite does not try WAL mode, and no memory map.
static const sqlite3_io_methods fileMethods = {
  1, fileClose, fileRead, fileWrite, fileTruncate, fileSync, fileSize, fileLock, fileUnlock,
  fileCheckReserved, fileControl, fileSectorSize, fileCharacteristics,
};

// --- files that could not be opened
//
// If xOpen fails, sqlite3_open says no more than that it did. So it gives a file that
// looks empty to the look at the header which comes with opening, and fails at its
// first use. In between SQLite calls the automatic extension, whose error has a text.

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
  return SQLITE_CANTOPEN;
}

static int failedSize(sqlite3_file *f, sqlite3_int64 *size) {
  (void)f;
  *size = 0;
  return SQLITE_CANTOPEN;
}

static int failedTruncate(sqlite3_file *f, sqlite3_int64 size) { return (void)f, (void)size, SQLITE_CANTOPEN; }
static int failedSync(sqlite3_file *f, int flags) { return (void)f, (void)flags, SQLITE_CANTOPEN; }
static int failedLock(sqlite3_file *f, int level) { return (void)f, (void)level, SQLITE_CANTOPEN; }
static int failedUnlock(sqlite3_file *f, int level) { return (void)f, (void)level, SQLITE_OK; }
static int failedCheckReserved(sqlite3_file *f, int *out) { return (void)f, *out = 0, SQLITE_CANTOPEN; }
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
  }
  return SQLITE_NOTFOUND;
}

static const sqlite3_io_methods failedMethods = {
  1, failedClose, failedRead, failedWrite, failedTruncate, failedSync, failedSize, failedLock, failedUnlock,
  failedCheckReserved, failedControl, failedSectorSize, failedCharacteristics,
};

// --- the VFS

static int isDefault(void) { return madeDefault || sqlite3_vfs_find(0) == &vfs; }

// isOursForked tells, without Go, whether a file may be a replica's or its journal.
static int isOursForked(const char *name, int flags) {
  const char *first = __atomic_load_n(&bound, __ATOMIC_ACQUIRE), *url = getenv("LITESTREAM_REPLICA_URL");
  if (!isDefault() || sqlite3_uri_parameter(name, "replica_url") || sqlite3_uri_parameter(name, "vfs")) return 1;
  if (first) {
    size_t n = strlen(first);
    return strncmp(first, name, n) == 0 && (name[n] == 0 || name[n] == '-');
  }
  return flags & SQLITE_OPEN_MAIN_DB && url && *url && !ls_exists(name);
}

// openForked opens a file in a forked process: plain ones, as far as it can be told that they are.
static int openForked(const char *name, ls_file *f, int flags, int *out) {
  const char *local = getenv("LITESTREAM_LOCAL_FILES");
  int ours = isOursForked(name, flags), isMain = flags & SQLITE_OPEN_MAIN_DB;
  if (!ours && !(isMain && local && strcmp(local, "none") == 0)) return os->xOpen(os, name, &f->base, flags, out);
  if (ours) ls_is_forked();
  if (!isMain) return SQLITE_CANTOPEN;
  f->error = strdup(ours ? LS_FORKED : "litestream: LITESTREAM_LOCAL_FILES allows no local files");
  f->base.pMethods = &failedMethods;
  return SQLITE_OK;
}

// keepStandardFiles has none of our files be number 0, 1 or 2, where programs write that
// think these are the standard ones. SQLite sees to it for its own.
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

// --- SQLite's shared cache
//
// SQLite keeps from a VFS that it opens a file for that. But it has the name resolved twice
// then: to look for a file that is open, and to open it.

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

// isForSharedCache tells whether the main database that is opened now is to be shared.
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
  if (forked) return openForked(name, f, flags, out);
  keepStandardFiles();
  switch (litestreamOpen((char*)name, flags | shared, isDefault(), &got, &f->handle, &f->error)) {
  case LS_LOCAL:
    rc = os->xOpen(os, name, file, flags, out);
    if (rc && flags & SQLITE_OPEN_MAIN_DB) litestreamNotOpened((char*)name);
    return rc;
  case LS_OPENED:
    f->base.pMethods = &fileMethods;
    break;
  default:
    if (!(flags & SQLITE_OPEN_MAIN_DB)) {
      free(f->error);
      return SQLITE_CANTOPEN;
    }
    f->base.pMethods = &failedMethods;
  }
  if (out) *out = got;
  return SQLITE_OK;
}

static int vfsDelete(sqlite3_vfs *v, const char *name, int sync) {
  int rc;
  (void)v;
  if (!forked && litestreamDelete((char*)name, &rc)) return rc;
  return os->xDelete(os, name, sync);
}

static int vfsAccess(sqlite3_vfs *v, const char *name, int flags, int *out) {
  int rc;
  (void)v;
  if (!forked && litestreamAccess((char*)name, out, &rc)) return rc;
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
    // Whoever is the default now may stand before us, unless SQLite has begun anew.
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

// --- for the Go side

const char *ls_uri_key(const char *name, int n) { return sqlite3_uri_key(name, n); }
const char *ls_uri_parameter(const char *name, const char *key) { return sqlite3_uri_parameter(name, key); }

// ls_environment copies the pointers first, until it finds them twice: another thread
// may be at changing them, which no function of C protects from.
char **ls_environment(int *n) {
  char **all = 0;
  int tries, i, size = 0, same = 0;
  for (tries = 0; tries < 100 && !same; tries++) {
    char **e = environ;
    same = all != 0;
    for (i = 0; e && e[i]; i++) {
      if (i >= size) {
        char **more = realloc(all, (size + 64) * sizeof *all);
        if (!more) break;
        memset(more + size, 0, 64 * sizeof *all);
        all = more;
        size += 64;
      }
      if (all[i] != e[i]) same = 0;
      all[i] = e[i];
    }
    if (i < size && all[i]) {
      memset(all + i, 0, (size - i) * sizeof *all);
      same = 0;
    }
    *n = i;
  }
  for (i = 0; i < *n; i++) all[i] = strdup(all[i]);
  return all;
}

// Go's os.Setenv is to change Go's copy of the environment, not the host's, which
// other threads may be reading: this is what runtime/cgo calls for C's.
int setenv(const char *name, const char *value, int overwrite) { return (void)name, (void)value, (void)overwrite, 0; }
int unsetenv(const char *name) { return (void)name, 0; }

void ls_keep_loaded(const void *in) {
  Dl_info info;
  if (dladdr((void*)in, &info) && info.dli_fname) dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

int ls_exists(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0 || errno != ENOENT;
}
