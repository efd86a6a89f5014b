// The VFS that SQLite's own tests run on: the extension's VFS, with a plain file beside each
// replica.
//
// SQLite's tests name databases by paths, and work on their files: they look at sizes,
// copy files, delete them, and overwrite bytes. So each database here has two copies. SQLite
// reads the replica, and writes both. When the last connection of a database is closed, the
// file is compared with what SQLite wrote. If a test has changed it, or has changed it before the
// next open, that open begins a new replica with the content of the file. Otherwise the
// replica is compared with the file, and a difference is a fault.
//
// If SQLite gives up a transaction, it may leave it to a journal to undo what it has written to the file
// at the next open. It is undone here when the last connection is closed.
//
// The program is linked with this library, and with SQLITE_EXTRA_INIT=suite_init. It
// reads two variables:
//
//   LITESTREAM_TEST_EXTENSION  the extension; without it everything runs on plain files
//   LITESTREAM_TEST_REPLICAS   a folder for the replicas; its file "counts" gets a line for each process

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sqlite3.h"

// database is one that this process has opened. The mutex guards all of them.
typedef struct database {
  struct database *next;
  dev_t dev;
  ino_t ino;
  int opens;           // open connections
  int number;          // of the replica, in this process
  sqlite3_int64 size;  // of the file at the last close; -1 if it has not the content of the replica
  uint64_t sum;        // of its content then
  int pageSize;        // 0: no page is known
  int pages;           // length of sums
  uint64_t *sums;      // of the pages as SQLite wrote them; 0: not known
  int isGivenUp;       // a transaction was given up, and the file has pages of it
  int isLonger;        // the file that was copied to the replica has more pages than its header says
} database;

// both is an open database. The file of the replica follows it.
typedef struct both {
  sqlite3_file base;
  sqlite3_file *replica;
  database *db;
  sqlite3_filename name;  // of the replica's file, by sqlite3_create_filename
  int fd;                 // of the plain file
  int level;              // of SQLite's lock
  int isWriting;          // SQLite has written what it has not committed
} both;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static database *databases;
static int numbers;

static sqlite3_vfs *ours;   // of the extension
static sqlite3_vfs *plain;  // of the operating system
static sqlite3_vfs suite;   // this one

// What was done, for the line in "counts".
static struct { long opened, imported, plain, reads, writes, faults; } counts;

static pid_t counter;  // the process that counts; its children by fork do not

static void printCounts(void) {
  char path[4096];
  FILE *f;
  if (getpid() != counter) return;
  snprintf(path, sizeof path, "%s/counts", getenv("LITESTREAM_TEST_REPLICAS"));
  f = fopen(path, "a");
  if (!f) return;
  fprintf(f, "opened %ld imported %ld plain %ld reads %ld writes %ld faults %ld\n",
          counts.opened, counts.imported, counts.plain, counts.reads, counts.writes, counts.faults);
  fclose(f);
}

static uint64_t sumOfBytes(uint64_t h, const unsigned char *p, int n) {
  int i;
  for (i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211u;
  return h;
}

#define SUM_START 14695981039346656037u

// sumOf returns a checksum of the content of a file, and its size.
static uint64_t sumOf(int fd, sqlite3_int64 *size) {
  static unsigned char buf[1 << 16];  // the caller holds the mutex
  uint64_t h = SUM_START;
  ssize_t n;
  *size = 0;
  while ((n = pread(fd, buf, sizeof buf, *size)) > 0) {
    h = sumOfBytes(h, buf, n);
    *size += n;
  }
  return h;
}

// setPages sets the number of pages. Those that are new are not known.
static void setPages(database *db, int pages) {
  if (pages > db->pages) {
    db->sums = realloc(db->sums, pages * sizeof *db->sums);
    memset(db->sums + db->pages, 0, (pages - db->pages) * sizeof *db->sums);
  }
  db->pages = pages;
}

// noteWrite notes what SQLite writes.
static void noteWrite(database *db, const void *p, int n, sqlite3_int64 off) {
  if (!db->pageSize) db->pageSize = n;
  if (n != db->pageSize || off % n) return;
  if (off / n >= db->pages) setPages(db, off / n + 1);
  db->sums[off / n] = sumOfBytes(SUM_START, p, n) | 1;
}

// isAsWritten reports whether the plain file has what SQLite wrote.
static int isAsWritten(database *db, int fd) {
  static unsigned char page[1 << 16];  // the caller holds the mutex
  struct stat st;
  int i;
  if (fstat(fd, &st)) return 0;
  if (!db->pageSize) return st.st_size == db->size;
  if (st.st_size != (sqlite3_int64)db->pages * db->pageSize) return 0;
  for (i = 0; i < db->pages; i++) {
    if (!db->sums[i]) continue;
    if (pread(fd, page, db->pageSize, (sqlite3_int64)i * db->pageSize) != db->pageSize) return 0;
    if ((sumOfBytes(SUM_START, page, db->pageSize) | 1) != db->sums[i]) return 0;
  }
  return 1;
}

// hasContent reports whether there is a file of that name that is not empty.
static int hasContent(const char *path, const char *suffix) {
  struct stat st;
  char *name = sqlite3_mprintf("%s%s", path, suffix);
  int has = name && stat(name, &st) == 0 && st.st_size > 0;
  sqlite3_free(name);
  return has;
}

// pageSizeOf returns the page size of a file that can be the content of a replica, else 0.
// One with a journal or a WAL is not complete without it.
static int pageSizeOf(int fd, const char *path, sqlite3_int64 size) {
  unsigned char head[100];
  int n;
  if (pread(fd, head, sizeof head, 0) != sizeof head || memcmp(head, "SQLite format 3", 16)) return 0;
  n = head[16] << 8 | head[17];
  if (n == 1) n = 1 << 16;
  if (n < 512 || n & (n - 1) || size % n) return 0;
  if (hasContent(path, "-journal") || hasContent(path, "-wal")) return 0;
  return n;
}

// nameOf returns the name of a database with the replica as a parameter. The path has
// parameters of its own if hasParams is set.
static sqlite3_filename nameOf(const char *path, int hasParams, int number) {
  const char *params[128];
  char url[4096];
  char *journal = sqlite3_mprintf("%s-journal", path), *wal = sqlite3_mprintf("%s-wal", path);
  sqlite3_filename name;
  const char *key;
  int n = 0, i;
  snprintf(url, sizeof url, "file://%s/%d-%d", getenv("LITESTREAM_TEST_REPLICAS"), (int)getpid(), number);
  params[n++] = "replica_url";
  params[n++] = url;
  for (i = 0; hasParams && n < 126 && (key = sqlite3_uri_key(path, i)) != 0; i++) {
    params[n++] = key;
    params[n++] = sqlite3_uri_parameter(path, key);
  }
  name = journal && wal ? sqlite3_create_filename(path, journal, wal, n / 2, params) : 0;
  sqlite3_free(journal);
  sqlite3_free(wal);
  return name;
}

// openReplica opens the replica of a name.
static int openReplica(const char *name, sqlite3_file *file, int flags, int *out) {
  memset(file, 0, ours->szOsFile);
  return ours->xOpen(ours, name, file, flags | SQLITE_OPEN_URI, out);  // it has parameters
}

// fill makes the content of the file fd the first transaction of a replica. It fails if the content
// cannot be that of a replica.
static int fill(sqlite3_file *to, database *db, int fd, int pageSize) {
  const sqlite3_io_methods *m = to->pMethods;
  char *page = malloc(pageSize);
  sqlite3_int64 at, size = db->size;
  int rc = m->xLock(to, SQLITE_LOCK_SHARED);
  if (rc == SQLITE_OK) rc = m->xLock(to, SQLITE_LOCK_RESERVED);
  if (rc == SQLITE_OK) rc = m->xLock(to, SQLITE_LOCK_EXCLUSIVE);
  for (at = 0; rc == SQLITE_OK && at < db->size; at += pageSize) {
    rc = pread(fd, page, pageSize, at) == pageSize ? m->xWrite(to, page, pageSize, at) : SQLITE_IOERR_READ;
    noteWrite(db, page, pageSize, at);
  }
  if (rc == SQLITE_OK) {
    rc = m->xFileControl(to, SQLITE_FCNTL_SYNC, 0);
    if (rc == SQLITE_NOTFOUND) rc = SQLITE_OK;
  }
  if (rc == SQLITE_OK) rc = m->xSync(to, SQLITE_SYNC_NORMAL);
  if (rc == SQLITE_OK) rc = m->xFileControl(to, SQLITE_FCNTL_COMMIT_PHASETWO, 0);
  if (rc == SQLITE_OK) rc = m->xFileSize(to, &size);
  db->isLonger = size < db->size;
  m->xUnlock(to, SQLITE_LOCK_NONE);
  free(page);
  return rc;
}

static void closeFile(sqlite3_file *f) {
  if (f && f->pMethods) f->pMethods->xClose(f);
}

// databaseOf returns the database whose plain file is open as fd, and whether it is a new one with content.
static database *databaseOf(int fd, const struct stat *st, int *isNew) {
  sqlite3_int64 size;
  uint64_t sum;
  database *db;
  *isNew = 0;
  for (db = databases; db && (db->dev != st->st_dev || db->ino != st->st_ino); db = db->next) {}
  if (db && db->opens > 0) return db;
  sum = sumOf(fd, &size);
  if (db && db->size == size && db->sum == sum) return db;
  if (!db) {
    db = calloc(1, sizeof *db);
    db->dev = st->st_dev;
    db->ino = st->st_ino;
    db->next = databases;
    databases = db;
  }
  db->number = ++numbers;
  db->size = size;
  db->sum = sum;
  db->pageSize = db->pages = db->isGivenUp = db->isLonger = 0;
  *isNew = size > 0;
  return db;
}

static const sqlite3_io_methods methods;

// openBoth opens a replica and its plain file. It returns SQLITE_NOTFOUND if the file cannot be the
// content of a replica. The caller holds the mutex.
static int openBoth(const char *path, both *f, int flags, int *out) {
  sqlite3_file *filled = 0;
  struct stat st;
  int isNew, rc = SQLITE_OK;
  f->fd = -1;
  if (flags & SQLITE_OPEN_READWRITE) f->fd = open(path, O_RDWR | O_CLOEXEC | (flags & SQLITE_OPEN_CREATE ? O_CREAT : 0), 0644);
  if (f->fd < 0 && (!(flags & SQLITE_OPEN_READWRITE) || (errno != EISDIR && errno != ENOENT))) {
    flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
  }
  if (f->fd < 0 || fstat(f->fd, &st) || !S_ISREG(st.st_mode)) return SQLITE_NOTFOUND;
  f->db = databaseOf(f->fd, &st, &isNew);
  f->name = nameOf(path, flags & SQLITE_OPEN_URI, f->db->number);
  if (!f->name) return SQLITE_NOMEM;
  if (isNew) {
    int pageSize = pageSizeOf(f->fd, path, f->db->size);
    sqlite3_filename name = pageSize ? nameOf(path, 0, f->db->number) : 0;
    if (pageSize && !name) rc = SQLITE_NOMEM;
    if (!name) {
      f->db->size = -1;
      return rc ? rc : SQLITE_NOTFOUND;
    }
    filled = malloc(ours->szOsFile);
    rc = openReplica(name, filled, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_DB, 0);
    if (rc == SQLITE_OK) rc = fill(filled, f->db, f->fd, pageSize);
    sqlite3_free_filename(name);
    if (rc != SQLITE_OK) {
      f->db->size = -1;
      if (rc != SQLITE_CANTOPEN) rc = SQLITE_NOTFOUND;
    } else {
      counts.imported++;
    }
  }
  if (rc == SQLITE_OK) rc = openReplica(f->name, f->replica, flags, out);
  closeFile(filled);
  free(filled);
  return rc;
}

static int suiteOpen(sqlite3_vfs *v, const char *path, sqlite3_file *file, int flags, int *out) {
  both *f = (both*)file;
  char none[4096];
  int rc;
  (void)v;
  file->pMethods = 0;
  if (!path || !(flags & SQLITE_OPEN_MAIN_DB)) return ours->xOpen(ours, path, file, flags, out);
  memset(f, 0, sizeof *f);
  f->replica = (sqlite3_file*)(f + 1);
  pthread_mutex_lock(&mutex);
  rc = openBoth(path, f, flags, out);
  if (rc == SQLITE_OK) {
    f->db->opens++;
    counts.opened++;
    f->base.pMethods = &methods;
  } else {
    if (f->fd >= 0) close(f->fd);
    if (f->name) sqlite3_free_filename(f->name);
    if (rc == SQLITE_NOTFOUND) counts.plain++;
    // The extension takes a name that is resolved twice before it is opened for one of the shared cache.
    ours->xFullPathname(ours, "none", sizeof none, none);
  }
  pthread_mutex_unlock(&mutex);
  if (rc != SQLITE_NOTFOUND) return rc;
  memset(file, 0, plain->szOsFile);
  return plain->xOpen(plain, path, file, flags, out);
}

// isSame reports whether the replica has the content of the plain file, except for the parts of the
// first page that a VFS serves in its own way: versions, counters, the size and the schema cookie.
// A replica that could not be opened has no content.
static int isSame(both *f) {
  static char a[1 << 16], b[1 << 16];  // the caller holds the mutex
  static const struct { int off, n; } other[] = {{18, 2}, {24, 8}, {40, 4}, {92, 4}};
  const sqlite3_io_methods *m = f->replica->pMethods;
  sqlite3_int64 size, at;
  struct stat st;
  int same, i;
  if (m->xLock(f->replica, SQLITE_LOCK_SHARED)) return 1;
  same = m->xFileSize(f->replica, &size) == SQLITE_OK && fstat(f->fd, &st) == 0 && st.st_size == size;
  for (at = 0; same && at < size;) {
    int page, n = pread(f->fd, a, 100, 0) == 100 ? (a[16] & 255) << 8 | (a[17] & 255) : 0;
    page = n == 1 ? 1 << 16 : n;
    if (page < 512 || page > 1 << 16 || pread(f->fd, a, page, at) != page) break;
    if (m->xRead(f->replica, b, page, at)) break;
    for (i = 0; at == 0 && i < 4; i++) memcpy(b + other[i].off, a + other[i].off, other[i].n);
    same = memcmp(a, b, page) == 0;
    at += page;
  }
  m->xUnlock(f->replica, SQLITE_LOCK_NONE);
  return same && at >= size;
}

// undo gives the plain file the content of the replica.
static void undo(both *f) {
  static char page[1 << 16];  // the caller holds the mutex
  const sqlite3_io_methods *m = f->replica->pMethods;
  const int n = f->db->pageSize;
  sqlite3_int64 size, at;
  if (m->xLock(f->replica, SQLITE_LOCK_SHARED)) return;
  if (m->xFileSize(f->replica, &size) == SQLITE_OK && ftruncate(f->fd, size) == 0 && n) {
    setPages(f->db, size / n);
    for (at = 0; at < size && m->xRead(f->replica, page, n, at) == SQLITE_OK; at += n) {
      if (pwrite(f->fd, page, n, at) == n) noteWrite(f->db, page, n, at);
    }
  }
  m->xUnlock(f->replica, SQLITE_LOCK_NONE);
  f->db->isGivenUp = 0;
}

static int suiteClose(sqlite3_file *file) {
  both *f = (both*)file;
  int rc;
  pthread_mutex_lock(&mutex);
  if (--f->db->opens == 0) {
    int isForeign = f->db->isLonger || !isAsWritten(f->db, f->fd);
    if (f->db->isGivenUp && !isForeign) undo(f);
    f->db->sum = sumOf(f->fd, &f->db->size);
    if (isForeign) {
      f->db->size = -1;
    } else if (!isSame(f)) {
      counts.faults++;
      fprintf(stderr, "suite: the replica of %s is not what SQLite wrote\n", f->name);
    }
  }
  rc = f->replica->pMethods->xClose(f->replica);
  pthread_mutex_unlock(&mutex);
  close(f->fd);
  sqlite3_free_filename(f->name);
  return rc;
}

static int suiteRead(sqlite3_file *file, void *p, int n, sqlite3_int64 off) {
  both *f = (both*)file;
  __atomic_add_fetch(&counts.reads, 1, __ATOMIC_RELAXED);
  return f->replica->pMethods->xRead(f->replica, p, n, off);
}

static int suiteWrite(sqlite3_file *file, const void *p, int n, sqlite3_int64 off) {
  both *f = (both*)file;
  int rc = f->replica->pMethods->xWrite(f->replica, p, n, off);
  __atomic_add_fetch(&counts.writes, 1, __ATOMIC_RELAXED);
  f->isWriting = 1;
  if (rc == SQLITE_OK && pwrite(f->fd, p, n, off) != n) rc = SQLITE_IOERR_WRITE;
  if (rc == SQLITE_OK) {
    pthread_mutex_lock(&mutex);
    noteWrite(f->db, p, n, off);
    pthread_mutex_unlock(&mutex);
  }
  return rc;
}

static int suiteTruncate(sqlite3_file *file, sqlite3_int64 size) {
  both *f = (both*)file;
  int rc = f->replica->pMethods->xTruncate(f->replica, size);
  f->isWriting = 1;
  if (rc == SQLITE_OK && ftruncate(f->fd, size)) rc = SQLITE_IOERR_TRUNCATE;
  if (rc == SQLITE_OK) {
    pthread_mutex_lock(&mutex);
    if (f->db->pageSize) setPages(f->db, size / f->db->pageSize);
    pthread_mutex_unlock(&mutex);
  }
  return rc;
}

#define REPLICA ((both*)file)->replica
#define CALL(method, ...) return REPLICA->pMethods->method(REPLICA, ##__VA_ARGS__)

static int suiteSync(sqlite3_file *file, int flags) { CALL(xSync, flags); }
static int suiteSize(sqlite3_file *file, sqlite3_int64 *size) { CALL(xFileSize, size); }
static int suiteCheckReserved(sqlite3_file *file, int *out) { CALL(xCheckReservedLock, out); }

static int suiteLock(sqlite3_file *file, int level) {
  int rc = REPLICA->pMethods->xLock(REPLICA, level);
  if (rc == SQLITE_OK && level > ((both*)file)->level) ((both*)file)->level = level;
  return rc;
}

static int suiteUnlock(sqlite3_file *file, int level) {
  both *f = (both*)file;
  if (level < f->level) f->level = level;
  if (f->isWriting && level < SQLITE_LOCK_RESERVED) {
    pthread_mutex_lock(&mutex);
    f->db->isGivenUp = 1;
    pthread_mutex_unlock(&mutex);
    f->isWriting = 0;
  }
  CALL(xUnlock, level);
}

static int suiteControl(sqlite3_file *file, int op, void *arg) {
  if (op == SQLITE_FCNTL_LOCKSTATE) {  // for PRAGMA lock_status, which only test programs have
    *(int*)arg = ((both*)file)->level;
    return SQLITE_OK;
  }
  if (op == SQLITE_FCNTL_COMMIT_PHASETWO) ((both*)file)->isWriting = 0;
  CALL(xFileControl, op, arg);
}

static int suiteSectorSize(sqlite3_file *file) { CALL(xSectorSize); }
static int suiteCharacteristics(sqlite3_file *file) { CALL(xDeviceCharacteristics); }

static const sqlite3_io_methods methods = {
  .iVersion = 1,
  .xClose = suiteClose,
  .xRead = suiteRead,
  .xWrite = suiteWrite,
  .xTruncate = suiteTruncate,
  .xSync = suiteSync,
  .xFileSize = suiteSize,
  .xLock = suiteLock,
  .xUnlock = suiteUnlock,
  .xCheckReservedLock = suiteCheckReserved,
  .xFileControl = suiteControl,
  .xSectorSize = suiteSectorSize,
  .xDeviceCharacteristics = suiteCharacteristics,
};

static int suiteFullPathname(sqlite3_vfs *v, const char *name, int n, char *out) { return (void)v, ours->xFullPathname(ours, name, n, out); }
static int suiteDelete(sqlite3_vfs *v, const char *name, int sync) { return (void)v, ours->xDelete(ours, name, sync); }
static int suiteAccess(sqlite3_vfs *v, const char *name, int flags, int *out) { return (void)v, ours->xAccess(ours, name, flags, out); }

// registerSuite loads the extension, and makes the VFS of this file the default.
static int registerSuite(const char *extension) {
  sqlite3 *db = 0;
  char *wrong = 0;
  int rc = sqlite3_open(":memory:", &db);
  if (rc == SQLITE_OK) rc = sqlite3_enable_load_extension(db, 1);
  if (rc == SQLITE_OK) rc = sqlite3_load_extension(db, extension, "sqlite3_litestream_init", &wrong);
  ours = sqlite3_vfs_find("litestream");
  plain = sqlite3_vfs_find("unix");
  if (rc != SQLITE_OK || !ours || !plain) {
    // SQLite would forget the code, and everything would run on plain files.
    fprintf(stderr, "suite: load %s: %s\n", extension, wrong ? wrong : sqlite3_errstr(rc));
    exit(1);
  }
  sqlite3_close(db);
  if (!suite.zName) {
    suite = *ours;  // with what it does for the operating system
    suite.pNext = 0;
    suite.zName = "suite";
    suite.szOsFile += sizeof(both);
    suite.xOpen = suiteOpen;
    suite.xDelete = suiteDelete;
    suite.xAccess = suiteAccess;
    suite.xFullPathname = suiteFullPathname;
    counter = getpid();
    atexit(printCounts);
  }
  return sqlite3_vfs_register(&suite, 1);
}

// suite_init is called by each sqlite3_initialize.
int suite_init(const char *unused) {
  const char *extension = getenv("LITESTREAM_TEST_EXTENSION");
  (void)unused;
  return extension && *extension ? registerSuite(extension) : SQLITE_OK;
}
