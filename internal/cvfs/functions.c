//go:build cgo

// The SQL functions, and the text of a failed open.

#include <stdlib.h>

#include "vfs.h"

typedef struct function {
  const char *name;  // of the function, and of the PRAGMA, unless there is one
  const char *pragma;
  int nArg;
  int type;    // of the result
  int setter;  // it changes something: not for views and triggers
} function;

static const function functions[] = {
  {"litestream_txid", 0, 0, SQLITE_TEXT, 0},
  {"litestream_time", 0, 0, SQLITE_TEXT, 0},
  {"litestream_lag", 0, 0, SQLITE_INTEGER, 0},
  {"litestream_status", 0, 0, SQLITE_TEXT, 0},
  {"litestream_history", 0, 0, SQLITE_TEXT, 0},
  {"litestream_hydration_progress", 0, 0, SQLITE_FLOAT, 0},
  {"litestream_hydration_status", 0, 0, SQLITE_TEXT, 0},
  {"litestream_hydration_file", 0, 0, SQLITE_TEXT, 0},
  {"litestream_write_enabled", 0, 0, SQLITE_INTEGER, 0},
  {"litestream_sync", 0, 0, SQLITE_TEXT, 1},
  {"litestream_wait", 0, 1, SQLITE_TEXT, 1},
  {"litestream_wait", 0, 2, SQLITE_TEXT, 1},
  {"litestream_set_time", "litestream_time", 1, SQLITE_TEXT, 1},
  {"litestream_set_txid", "litestream_txid", 1, SQLITE_TEXT, 1},
  {"litestream_set_write_enabled", "litestream_write_enabled", 1, SQLITE_INTEGER, 1},
};

// ask passes a request to the main database, and says whether that went well; if not, the
// function has its error.
static int ask(sqlite3_context *c, ls_request *r) {
  int rc = sqlite3_file_control(sqlite3_context_db_handle(c), "main", LS_FCNTL_REQUEST, r);
  if (rc == SQLITE_OK && !r->served) rc = SQLITE_NOTFOUND;
  if (r->error) {
    sqlite3_result_error(c, r->error, -1);
    sqlite3_result_error_code(c, rc);  // which leaves the text
  } else if (rc == SQLITE_NOTFOUND) {
    sqlite3_result_error(c, "the main database is not served by litestream", -1);
  } else if (rc) {
    sqlite3_result_error_code(c, rc);
  }
  return rc == SQLITE_OK;
}

// decimal reads digits with a point, whatever the host's locale has instead of one.
static double decimal(const char *s) {
  double n = 0, unit = 1;
  int fraction = 0;
  for (; *s == '.' || (*s >= '0' && *s <= '9'); s++) {
    if (*s == '.') {
      fraction = 1;
      continue;
    }
    n = 10 * n + (*s - '0');
    if (fraction) unit *= 10;
  }
  return n / unit;
}

static void call(sqlite3_context *c, int n, sqlite3_value **args) {
  const function *f = sqlite3_user_data(c);
  const char *pragma = f->pragma ? f->pragma : f->name;
  ls_request set = {pragma, 0, 0, 0, 0}, get = {pragma, 0, 0, 0, 0};
  char *both = 0;
  if (n >= 1) {
    set.value = (const char*)sqlite3_value_text(args[0]);
    if (!set.value) return;  // NULL of NULL
  }
  if (n == 2) {
    const char *limit = (const char*)sqlite3_value_text(args[1]);
    if (!limit) return;
    set.value = both = sqlite3_mprintf("%s %s", set.value, limit);
    if (!both) {
      sqlite3_result_error_nomem(c);
      return;
    }
  }
  if ((n == 0 || ask(c, &set)) && ask(c, &get) && get.result) {
    switch (f->type) {
    case SQLITE_INTEGER:
      sqlite3_result_int64(c, strtoll(get.result, 0, 10));
      break;
    case SQLITE_FLOAT:
      sqlite3_result_double(c, decimal(get.result));
      break;
    default:
      sqlite3_result_text(c, get.result, -1, SQLITE_TRANSIENT);
    }
  }
  sqlite3_free(both);
  free(set.result);
  free(set.error);
  free(get.result);
  free(get.error);
}

int ls_add_functions(sqlite3 *db) {
  unsigned i;
  for (i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    const function *f = &functions[i];
    int flags = SQLITE_UTF8 | (f->setter ? SQLITE_DIRECTONLY : 0);
    int rc = sqlite3_create_function_v2(db, f->name, f->nArg, flags, (void*)f, call, 0, 0, 0);
    if (rc == SQLITE_BUSY) return SQLITE_OK;  // they are there, and in use
    if (rc) return rc;
  }
  return ls_add_changes(db);
}

char *ls_open_error(sqlite3 *db) {
  ls_file *f = 0;
  if (sqlite3_file_control(db, "main", LS_FCNTL_FILE, &f) != SQLITE_OK || !f || !f->error) return 0;
  return sqlite3_mprintf("%s", f->error);
}

static int connected(sqlite3 *db, char **err, const sqlite3_api_routines *api) {
  sqlite3_vfs *v = 0;
  (void)api;
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_VFS_POINTER, &v) != SQLITE_OK || !v || !ls_vfs_is_ours(v)) return SQLITE_OK;
  *err = ls_open_error(db);
  if (*err) return ls_failed(SQLITE_CANTOPEN);
  return ls_add_functions(db);
}

int ls_watch_connections(void) { return sqlite3_auto_extension((void (*)(void))connected); }
