//go:build cgo

// The VFS as SQLite sees it: the Go side serves replicas. Everything else is served by the
// VFS that was the default when this one was registered, on files that are wholly its
// own. So plain files keep WAL, memory maps and locks of other processes.

#include <stdlib.h>
#include <string.h>

#ifndef _WIN32
#include <fcntl.h>
#include <unistd.h>
#endif

#include "_cgo_export.h"

const sqlite3_api_routines *sqlite3_api;

void ls_set_api(const sqlite3_api_routines *api) { sqlite3_api = api; }

static ls_vfs *of(sqlite3_vfs *v) { return v->pAppData; }
static sqlite3_vfs *osOf(sqlite3_vfs *v) { return of(v)->os; }

int ls_vfs_is_default(const ls_vfs *v) { return v->madeDefault || sqlite3_vfs_find(0) == &v->base; }

// openForked opens a file in a forked process, if it can tell that it is a plain one.
static int openForked(const ls_vfs *v, const char *name, ls_file *f, int flags, int *out) {
  const char *why = LS_FORKED;
  if (v->forked) why = v->forked(v, name, flags);
  if (!why) return v->os->xOpen(v->os, name, &f->base, flags, out);
  if (strcmp(why, LS_FORKED) == 0) ls_is_forked();
  if (!(flags & SQLITE_OPEN_MAIN_DB)) return SQLITE_CANTOPEN;
  f->error = strdup(why);
  f->base.pMethods = &ls_failed_methods;
  return SQLITE_OK;
}

// keepStandardFiles keeps files of ours from getting number 0, 1 or 2, since programs
// write to these as the standard ones. SQLite does the same for its own files.
static void keepStandardFiles(void) {
#ifndef _WIN32
  int fd;
  for (fd = 0; fd < 3; fd++) {
    while (fcntl(fd, F_GETFD) < 0) {
      int null = open("/dev/null", O_RDWR);
      if (null < 0) return;
      if (null > fd) close(null);
    }
  }
#endif
}

// resolved is what the thread has resolved last, until it opens that. SQLite resolves a name
// and opens the result next. It is small: the memory that a program has for such
// variables of the libraries that it loads is less than 2 KiB.
static __thread struct {
  const ls_vfs *vfs;  // NULL once it is open
  uint64_t name;      // a hash of the result
  int times;          // in a row
  char *given;        // the name that was resolved, by malloc; NULL once it is open
} resolved;

static uint64_t hashOf(const char *s) {
  uint64_t h = 14695981039346656037u;  // FNV-1a
  for (; *s; s++) h = (h ^ (unsigned char)*s) * 1099511628211u;
  return h;
}

static void noteResolved(const ls_vfs *v, const char *given, const char *name) {
  uint64_t h = hashOf(name);
  if (resolved.vfs != v || resolved.name != h) resolved.times = 0;
  resolved.vfs = v;
  resolved.name = h;
  resolved.times++;
  free(resolved.given);
  resolved.given = strdup(given);
}

// givenName returns the name that the program has given for the main database that is opened
// now, and whether it is opened for SQLite's shared cache. SQLite does not tell a VFS
// that, but it has the name resolved twice then: to look for a file that is open, and
// to open it. The caller frees the name, which is NULL if it is not known.
static char *givenName(const ls_vfs *v, const char *name, int *shared) {
  int isLast = resolved.vfs == v && resolved.name == hashOf(name);
  char *given = resolved.given;
  resolved.vfs = 0;
  resolved.given = 0;
  *shared = isLast && resolved.times > 1;
  if (isLast) return given;
  free(given);
  return 0;
}

static int vfsOpen(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags, int *out) {
  const int temporary = SQLITE_OPEN_TEMP_DB | SQLITE_OPEN_TEMP_JOURNAL | SQLITE_OPEN_TRANSIENT_DB | SQLITE_OPEN_SUBJOURNAL;
  ls_file *f = (ls_file*)file;
  sqlite3_vfs *os = osOf(v);
  char *given = 0;
  int got = flags, shared = 0, result, rc;
  memset(f, 0, sizeof *f);
  if (!name || flags & temporary) return os->xOpen(os, name, file, flags, out);
  if (flags & SQLITE_OPEN_MAIN_DB) given = givenName(of(v), name, &shared);
  if (ls_forked) {
    free(given);
    return openForked(of(v), name, f, flags, out);
  }
  keepStandardFiles();
  f->vfs = of(v);
  result = litestreamOpen(of(v)->handle, (char*)name, given ? given : (char*)name, flags, shared, ls_vfs_is_default(of(v)), &got, &f->handle, &f->error);
  free(given);
  switch (result) {
  case LS_LOCAL:
    memset(f, 0, sizeof *f);
    rc = os->xOpen(os, name, file, flags, out);
    if (rc && flags & SQLITE_OPEN_MAIN_DB) litestreamNotOpened(of(v)->handle, (char*)name);
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
  if (!ls_forked && litestreamDelete(of(v)->handle, (char*)name, &rc)) return rc;
  return osOf(v)->xDelete(osOf(v), name, sync);
}

static int vfsAccess(sqlite3_vfs *v, const char *name, int flags, int *out) {
  int rc;
  if (!ls_forked && litestreamAccess(of(v)->handle, (char*)name, out, &rc)) return rc;
  return osOf(v)->xAccess(osOf(v), name, flags, out);
}

static int vfsFullPathname(sqlite3_vfs *v, const char *name, int n, char *out) {
  int rc = osOf(v)->xFullPathname(osOf(v), name, n, out);
  if ((rc & 0xff) == SQLITE_CANTOPEN && (int)strlen(name) < n) {
    strcpy(out, name);  // a replica's need not be a path that can be
    rc = SQLITE_OK;
  }
  if ((rc & 0xff) == SQLITE_OK) noteResolved(of(v), name, out);
  return rc;
}

static void *vfsDlOpen(sqlite3_vfs *v, const char *path) { return osOf(v)->xDlOpen(osOf(v), path); }
static void vfsDlError(sqlite3_vfs *v, int n, char *text) { osOf(v)->xDlError(osOf(v), n, text); }
static void (*vfsDlSym(sqlite3_vfs *v, void *h, const char *name))(void) { return osOf(v)->xDlSym(osOf(v), h, name); }
static void vfsDlClose(sqlite3_vfs *v, void *h) { osOf(v)->xDlClose(osOf(v), h); }
static int vfsRandomness(sqlite3_vfs *v, int n, char *out) { return osOf(v)->xRandomness(osOf(v), n, out); }
static int vfsSleep(sqlite3_vfs *v, int us) { return osOf(v)->xSleep(osOf(v), us); }
static int vfsCurrentTime(sqlite3_vfs *v, double *t) { return osOf(v)->xCurrentTime(osOf(v), t); }
static int vfsLastError(sqlite3_vfs *v, int n, char *text) { return osOf(v)->xGetLastError ? osOf(v)->xGetLastError(osOf(v), n, text) : 0; }

static int vfsCurrentTimeInt64(sqlite3_vfs *v, sqlite3_int64 *t) {
  sqlite3_vfs *os = osOf(v);
  double days;
  int rc;
  if (os->iVersion >= 2 && os->xCurrentTimeInt64) return os->xCurrentTimeInt64(os, t);
  rc = os->xCurrentTime(os, &days);
  *t = (sqlite3_int64)(days * 86400000.0);
  return rc;
}

int ls_vfs_is_ours(const sqlite3_vfs *v) { return v->xOpen == vfsOpen; }

int ls_vfs_exists(const char *name) { return sqlite3_vfs_find(name) != 0; }

ls_vfs *ls_vfs_new(const char *name, uintptr_t handle) {
  sqlite3_vfs *os = sqlite3_vfs_find(0);
  ls_vfs *v = os ? calloc(1, sizeof *v) : 0;
  char *copy = v ? strdup(name) : 0;
  if (!copy) {
    free(v);
    return 0;
  }
  v->os = os;
  v->handle = handle;
  v->base = (sqlite3_vfs){
    .iVersion = 2,
    .szOsFile = os->szOsFile > (int)sizeof(ls_file) ? os->szOsFile : (int)sizeof(ls_file),
    .mxPathname = os->mxPathname,
    .zName = copy,
    .pAppData = v,
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
  return v;
}

int ls_vfs_register(ls_vfs *v, int makeDefault) {
  if (makeDefault) v->madeDefault = 1;
  if (sqlite3_vfs_find(v->base.zName) == &v->base) {
    // Another VFS may have become the default on purpose, unless SQLite was initialized anew.
    return v->madeDefault && sqlite3_vfs_find(0) == v->os ? sqlite3_vfs_register(&v->base, 1) : SQLITE_OK;
  }
  return sqlite3_vfs_register(&v->base, v->madeDefault);
}

int ls_has_interrupts(void) { return sqlite3_libversion_number() >= 3041000 && sqlite3_api->is_interrupted; }
int ls_is_interrupted(void *db) { return sqlite3_is_interrupted(db); }

void *ls_next_running(void *db, void *stmt) {
  do stmt = sqlite3_next_stmt(db, stmt);
  while (stmt && !sqlite3_stmt_busy(stmt));
  return stmt;
}

const char *ls_sql(void *stmt) { return sqlite3_sql(stmt); }

char *ls_expanded(void *db, void *stmt, int most) {
  const char *sql = sqlite3_sql(stmt);
  int limit;
  char *text;
  // A statement without large values needs some 128 bytes for a parameter, which is
  // two bytes of its text at least. SQLite expands a blob byte by byte, also beyond
  // the limit, so 100 MB of them take seconds.
  if (!sql || sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_MEMUSED, 0) / 128 > most / 128 + (int)strlen(sql)) return 0;
  limit = sqlite3_limit(db, SQLITE_LIMIT_LENGTH, -1);
  if (limit > most) sqlite3_limit(db, SQLITE_LIMIT_LENGTH, most);
  text = sqlite3_expanded_sql(stmt);
  if (limit > most) sqlite3_limit(db, SQLITE_LIMIT_LENGTH, limit);
  return text;
}

void ls_free_expanded(char *text) { sqlite3_free(text); }

const char *ls_uri_key(const char *name, int n) { return sqlite3_uri_key(name, n); }
const char *ls_uri_parameter(const char *name, const char *key) { return sqlite3_uri_parameter(name, key); }
