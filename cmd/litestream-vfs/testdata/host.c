// A program that loads the extension, and opens, queries and closes databases
// again and again: host LIBRARY ROUNDS URI SQL EXPECTED. It prints what malloc and
// the process have in use after half of the rounds and at the end, and checks what
// takes SQLite's C interface.

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sqlite3.h"

static void fail(const char *what, const char *why) {
  fprintf(stderr, "host: %s: %s\n", what, why);
  exit(1);
}

static void load(const char *library) {
  sqlite3 *db;
  char *err = 0;
  if (sqlite3_open(":memory:", &db)) fail("open", sqlite3_errmsg(db));
  sqlite3_enable_load_extension(db, 1);
  if (sqlite3_load_extension(db, library, 0, &err)) fail("load", err);
  sqlite3_close(db);
}

static void query(const char *uri, const char *sql, const char *want) {
  sqlite3 *db;
  sqlite3_stmt *stmt;
  const char *got;
  if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, 0)) fail("open", sqlite3_errmsg(db));
  if (sqlite3_prepare_v2(db, sql, -1, &stmt, 0)) fail("prepare", sqlite3_errmsg(db));
  if (sqlite3_step(stmt) != SQLITE_ROW) fail("step", sqlite3_errmsg(db));
  got = (const char*)sqlite3_column_text(stmt, 0);
  if (!got || strcmp(got, want)) fail("result", got ? got : "null");
  sqlite3_finalize(stmt);
  // What fails must not leak either.
  if (sqlite3_exec(db, "PRAGMA litestream_time = 'whenever'", 0, 0, 0) == SQLITE_OK) fail("travel", "no error");
  if (sqlite3_close(db)) fail("close", "busy");
  if (sqlite3_open_v2("file:x?vfs=litestream&replica_url=foo://x", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, 0) == SQLITE_OK)
    fail("bad URL", "no error");
  sqlite3_close(db);
}

// changes begins a comparison and ends it in the middle, and one that fails.
static void changes(const char *uri) {
  static const char *const sql[] = {
    "SELECT new FROM litestream_changes('sandwich_ratings', '2026-03-14 11:59:49')",
    "SELECT new FROM litestream_changes('none', '2026-03-14 11:59:49')",
  };
  sqlite3 *db;
  sqlite3_stmt *stmt;
  int i;
  if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, 0)) fail("open", sqlite3_errmsg(db));
  for (i = 0; i < 2; i++) {
    if (sqlite3_prepare_v2(db, sql[i], -1, &stmt, 0)) fail("prepare", sqlite3_errmsg(db));
    if (sqlite3_step(stmt) != (i ? SQLITE_ERROR : SQLITE_ROW)) fail("changes", sqlite3_errmsg(db));
    sqlite3_finalize(stmt);
  }
  if (sqlite3_close(db)) fail("close", "busy");
}

// sharedCache opens a replica where SQLite shares caches by default, and by the flag of an open.
static void sharedCache(const char *uri, const char *sql, const char *want) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI;
  char private[1000];
  sqlite3 *db;
  int i;
  snprintf(private, sizeof private, "%s&cache=private", uri);
  for (i = 0; i < 4; i++) {
    sqlite3_enable_shared_cache(i % 2 == 0);
    if (sqlite3_open_v2(uri, &db, flags | (i % 2 ? SQLITE_OPEN_SHAREDCACHE : 0), 0) == SQLITE_OK) fail("shared cache", "no error");
    if (!strstr(sqlite3_errmsg(db), "say cache=private")) fail("shared cache", sqlite3_errmsg(db));
    sqlite3_close(db);
    query(private, sql, want);
  }
  query(uri, sql, want);
}

static sqlite3_io_methods yesMethods;

static int yesControl(sqlite3_file *f, int op, void *arg) { return (void)f, (void)op, (void)arg, SQLITE_OK; }

static int yesOpen(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out) {
  sqlite3_vfs *os = v->pAppData;
  int rc = os->xOpen(os, name, f, flags, out);
  if (f->pMethods) {
    yesMethods = *f->pMethods;
    yesMethods.xFileControl = yesControl;
    f->pMethods = &yesMethods;
  }
  return rc;
}

// otherVFS calls the functions for a local file whose VFS answers SQLITE_OK to all file
// controls, as some that programs bring with them do.
static void otherVFS(void) {
  static const char *const sql[] = {"SELECT * FROM litestream_changes('t', 'x')", "SELECT litestream_txid()", "SELECT litestream_set_time('x')"};
  static sqlite3_vfs yes;
  sqlite3 *db;
  sqlite3_stmt *stmt;
  unsigned i;
  yes = *sqlite3_vfs_find(0);
  yes.pAppData = sqlite3_vfs_find(0);
  yes.pNext = 0;
  yes.zName = "yes";
  yes.xOpen = yesOpen;
  if (sqlite3_vfs_register(&yes, 0)) fail("register", "error");
  if (sqlite3_open_v2("file:yes.db?vfs=yes", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, 0)) fail("open", sqlite3_errmsg(db));
  for (i = 0; i < sizeof sql / sizeof sql[0]; i++) {
    if (sqlite3_prepare_v2(db, sql[i], -1, &stmt, 0)) fail("prepare", sqlite3_errmsg(db));
    if (sqlite3_step(stmt) != SQLITE_ERROR || strcmp(sqlite3_errmsg(db), "the main database is not served by litestream")) fail(sql[i], sqlite3_errmsg(db));
    sqlite3_finalize(stmt);
  }
  if (sqlite3_close(db)) fail("close", "busy");
  sqlite3_vfs_unregister(&yes);
}

static void report(int round) {
  long pages = 0, resident = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%ld %ld", &pages, &resident) != 2) fail("statm", "unreadable");
  fclose(f);
  printf("round %d malloc %zu sqlite %lld resident %ld\n", round, mallinfo2().uordblks, sqlite3_memory_used(),
         resident * sysconf(_SC_PAGESIZE));
  fflush(stdout);
}

int main(int argc, char **argv) {
  int i, rounds;
  if (argc != 6) fail("usage", "host LIBRARY ROUNDS URI SQL EXPECTED");
  rounds = atoi(argv[2]);
  for (i = 1; i <= rounds; i++) {
    load(argv[1]);
    query(argv[3], argv[4], argv[5]);
    if (i % 10 == 0) changes(argv[3]);
    if (i == rounds / 2 || i == rounds) report(i);
  }
  sharedCache(argv[3], argv[4], argv[5]);
  otherVFS();
  // SQLite forgets what was registered; loading again brings it back.
  if (sqlite3_shutdown() || sqlite3_initialize()) fail("initialize", "error");
  load(argv[1]);
  query(argv[3], "SELECT typeof(litestream_txid())", "text");
  return 0;
}
