// A program that loads the extension and interrupts a query: interrupt LIBRARY URI SQL. It
// waits for a line on standard input before each of its steps, so that a test can
// stop and resume the storage.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "sqlite3.h"

static sqlite3 *db;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "interrupt: %s: %s\n", what, why);
  exit(1);
}

static void await(void) {
  char line[10];
  if (!fgets(line, sizeof line, stdin)) fail("input", "end");
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void *interrupt(void *unused) {
  usleep(500000);
  sqlite3_interrupt(db);
  return unused;
}

static void query(const char *sql) {
  sqlite3_stmt *stmt = 0;
  double start = now();
  int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, 0);
  if (rc == SQLITE_OK) rc = sqlite3_step(stmt);
  printf("%d %.3f %s\n", rc, now() - start, rc == SQLITE_ROW ? (const char*)sqlite3_column_text(stmt, 0) : sqlite3_errmsg(db));
  fflush(stdout);
  sqlite3_finalize(stmt);
}

int main(int argc, char **argv) {
  pthread_t thread;
  char *err = 0;
  int i;
  if (argc != 4) fail("usage", "interrupt LIBRARY URI SQL");
  if (sqlite3_open(":memory:", &db)) fail("open", sqlite3_errmsg(db));
  sqlite3_enable_load_extension(db, 1);
  if (sqlite3_load_extension(db, argv[1], 0, &err)) fail("load", err);
  sqlite3_close(db);
  if (sqlite3_open_v2(argv[2], &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, 0)) fail("open", sqlite3_errmsg(db));
  printf("open\n");
  fflush(stdout);
  for (i = 0; i < 2; i++) {  // the first one reads the schema
    await();
    sqlite3_db_release_memory(db);  // it reads the rows again
    if (pthread_create(&thread, 0, interrupt, 0)) fail("thread", "none");
    query(argv[3]);
    pthread_join(thread, 0);
    await();
    query(argv[3]);
  }
  if (sqlite3_close(db)) fail("close", sqlite3_errmsg(db));
  return 0;
}
