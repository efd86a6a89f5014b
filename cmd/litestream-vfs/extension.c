//go:build SQLITE3VFS_LOADABLE_EXT

// How SQLite loads the extension, and its SQL functions.

#include <pthread.h>
#include <stdlib.h>

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

// ask passes a request to the main database, and says whether that went well; if not, the
// function has its error.
static int ask(sqlite3_context *c, ls_request *r) {
  int rc = sqlite3_file_control(sqlite3_context_db_handle(c), "main", LS_FCNTL_REQUEST, r);
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
  ls_request set = {pragma, 0, 0, 0}, get = {pragma, 0, 0, 0};
  if (n == 1) {
    set.value = (const char*)sqlite3_value_text(args[0]);
    if (!set.value) return;  // NULL of NULL
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
  free(set.result);
  free(set.error);
  free(get.result);
  free(get.error);
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
  if (sqlite3_file_control(db, "main", LS_FCNTL_FILE, &f) == SQLITE_OK && f && f->error) {
    *err = sqlite3_mprintf("%s", f->error);
    return SQLITE_CANTOPEN;
  }
  return addFunctions(db);  // a replica may yet be attached
}

// --- loading

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static int loaded;

// load does what is done once for the process.
static int load(char **err, const sqlite3_api_routines *api) {
  int isDefault = 0, rc;
  char *text;
  if (loaded) {
    // SQLite forgets what was registered when it is shut down and initialized.
    rc = ls_vfs_register(0);
    return rc == SQLITE_OK ? sqlite3_auto_extension((void (*)(void))connected) : rc;
  }
  sqlite3_api = api;
  if (sqlite3_libversion_number() < MIN_VERSION) {
    *err = sqlite3_mprintf("litestream: SQLite %s is too old, 3.31 is the oldest that will do", sqlite3_libversion());
    return SQLITE_ERROR;
  }
  if (ls_vfs_is_registered()) {
    *err = sqlite3_mprintf("litestream: a VFS of that name is registered already, maybe by another copy of this library");
    return SQLITE_ERROR;
  }
  ls_keep_loaded(api);  // Node.js unloads an addon, and SQLite with it, when no thread uses it any more
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
