//go:build SQLITE3VFS_LOADABLE_EXT

// How SQLite loads the extension, and its SQL functions.

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

const sqlite3_api_routines *sqlite3_api;

// sqlite3_uri_key and the parameters of a journal's name came with it.
#define MIN_VERSION 3031000

// --- SQL functions

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
  {"litestream_set_time", "litestream_time", 1, SQLITE_TEXT, 1},
  {"litestream_set_txid", "litestream_txid", 1, SQLITE_TEXT, 1},
  {"litestream_set_write_enabled", "litestream_write_enabled", 1, SQLITE_INTEGER, 1},
};

// request asks the main database; 0 if a result was given to the function.
static void request(sqlite3_context *c, const function *f, ls_request *r) {
  int rc = sqlite3_file_control(sqlite3_context_db_handle(c), "main", LS_FCNTL_REQUEST, r);
  if (r->error) {
    sqlite3_result_error(c, r->error, -1);
    if (rc) sqlite3_result_error_code(c, rc);
    sqlite3_result_error(c, r->error, -1);
  } else if (rc == SQLITE_NOTFOUND || rc == SQLITE_ERROR) {
    sqlite3_result_error(c, "the main database is not served by litestream", -1);
  } else if (rc) {
    sqlite3_result_error_code(c, rc);
  } else if (r->result && f->type == SQLITE_INTEGER) {
    sqlite3_result_int64(c, strtoll(r->result, 0, 10));
  } else if (r->result && f->type == SQLITE_FLOAT) {
    sqlite3_result_double(c, strtod(r->result, 0));
  } else if (r->result) {
    sqlite3_result_text(c, r->result, -1, SQLITE_TRANSIENT);
  }
  free(r->result);
  free(r->error);
}

static void call(sqlite3_context *c, int n, sqlite3_value **args) {
  const function *f = sqlite3_user_data(c);
  ls_request r = {f->pragma ? f->pragma : f->name, 0, 0, 0};
  if (n == 1) {
    ls_request set = {r.name, (const char*)sqlite3_value_text(args[0]), 0, 0};
    int rc;
    if (!set.value) return;  // NULL of NULL
    rc = sqlite3_file_control(sqlite3_context_db_handle(c), "main", LS_FCNTL_REQUEST, &set);
    free(set.result);
    if (set.error || rc) {
      sqlite3_result_error(c, set.error ? set.error : "the main database is not served by litestream", -1);
      free(set.error);
      return;
    }
  }
  request(c, f, &r);
}

static int addFunctions(sqlite3 *db) {
  unsigned i;
  for (i = 0; i < sizeof functions / sizeof functions[0]; i++) {
    const function *f = &functions[i];
    int flags = SQLITE_UTF8 | (f->setter ? SQLITE_DIRECTONLY : 0);
    int rc = sqlite3_create_function_v2(db, f->name, f->nArg, flags, (void*)f, call, 0, 0, 0);
    if (rc == SQLITE_BUSY) return SQLITE_OK;  // they are there, and in use
    if (rc) return rc;
  }
  return SQLITE_OK;
}

// connected is called for each new connection of the process.
static int connected(sqlite3 *db, char **err, const sqlite3_api_routines *api) {
  ls_file *f = 0;
  (void)api;
  if (sqlite3_file_control(db, "main", LS_FCNTL_FILE, &f) != SQLITE_OK || !f) return SQLITE_OK;
  if (f->error) {
    *err = sqlite3_mprintf("%s", f->error);
    return SQLITE_CANTOPEN;
  }
  return addFunctions(db);
}

// --- loading

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static int loaded;

// load does what is done once for the process.
static int load(char **err, const sqlite3_api_routines *api) {
  int isDefault = 0, rc;
  char *text;
  if (loaded) return SQLITE_OK;
  sqlite3_api = api;
  if (sqlite3_libversion_number() < MIN_VERSION) {
    *err = sqlite3_mprintf("litestream: SQLite %s is too old, 3.31 is the oldest that will do", sqlite3_libversion());
    return SQLITE_ERROR;
  }
  if (ls_vfs_is_registered()) {
    *err = sqlite3_mprintf("litestream: a VFS of that name is registered already, maybe by another copy of this library");
    return SQLITE_ERROR;
  }
  ls_watch_fork();
  text = litestreamConfigure(&isDefault);
  if (text) {
    *err = sqlite3_mprintf("litestream: %s", text);
    free(text);
    return SQLITE_ERROR;
  }
  rc = ls_vfs_register(isDefault);
  if (rc == SQLITE_OK) rc = sqlite3_auto_extension((void (*)(void))connected);
  if (rc == SQLITE_OK) loaded = 1;
  return rc;
}

// SQLite derives the names of entry points from that of the file; which ways
// depends on its version.
#define ENTRY __attribute__((visibility("default")))

ENTRY int sqlite3_litestream_init(sqlite3 *db, char **err, const sqlite3_api_routines *api) {
  int rc;
  if (ls_is_forked()) {
    *err = api->mprintf("%s", LS_FORKED);
    return SQLITE_MISUSE;
  }
  pthread_mutex_lock(&loading);
  if (loaded && sqlite3_api != api) {
    *err = api->mprintf("litestream: another SQLite library in this process has loaded the extension");
    rc = SQLITE_ERROR;
  } else {
    rc = load(err, api);
  }
  pthread_mutex_unlock(&loading);
  if (rc == SQLITE_OK) rc = addFunctions(db);
  // The VFS and Go's threads stay: SQLite must not unload the library.
  return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}

ENTRY int sqlite3_litestreamvfs_init(sqlite3 *db, char **err, const sqlite3_api_routines *api) {
  return sqlite3_litestream_init(db, err, api);
}

ENTRY int sqlite3_extension_init(sqlite3 *db, char **err, const sqlite3_api_routines *api) {
  return sqlite3_litestream_init(db, err, api);
}
