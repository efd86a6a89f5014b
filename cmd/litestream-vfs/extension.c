//go:build SQLITE3VFS_LOADABLE_EXT

// How SQLite loads the extension.

#define _GNU_SOURCE  // dladdr

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

// sqlite3_uri_key and the parameters of a journal's name came with it.
#define MIN_VERSION 3031000

// isUnreadURI reports whether a connection is to a local file whose name was meant to be
// a URI that names the VFS. Programs that do not have SQLite read URIs open such files.
static int isUnreadURI(sqlite3 *db) {
  const char *name = sqlite3_db_filename(db, "main");
  return name && (strstr(name, "?vfs=" LS_NAME) || strstr(name, "&vfs=" LS_NAME));
}

// connected is called for each new connection of the process.
static int connected(sqlite3 *db, char **err, const sqlite3_api_routines *api) {
  (void)api;
  if (isUnreadURI(db)) {
    const char *name = sqlite3_db_filename(db, "main");
    // Parameters may contain secrets.
    *err = sqlite3_mprintf("litestream: open %.*s?...: it is a local file, not a replica, since the program opens names without SQLITE_OPEN_URI", (int)strcspn(name, "?"), name);
    return SQLITE_CANTOPEN;
  }
  *err = ls_open_error(db);
  if (*err) return SQLITE_CANTOPEN;
  return ls_add_functions(db);  // a replica may yet be attached
}

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static ls_vfs *loaded;  // the VFS; NULL before

// keepLoaded keeps the library that an address is in.
static void keepLoaded(const void *in) {
  Dl_info info;
  if (dladdr((void*)in, &info) && info.dli_fname) dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

// load does what is done once for the process.
static int load(char **err, const sqlite3_api_routines *api) {
  ls_vfs *v = 0;
  int isDefault = 0, rc;
  char *text;
  if (loaded) {
    // SQLite forgets what was registered when it is shut down and initialized.
    rc = ls_vfs_register(loaded, 0);
    return rc == SQLITE_OK ? sqlite3_auto_extension((void (*)(void))connected) : rc;
  }
  ls_set_api(api);
  if (sqlite3_libversion_number() < MIN_VERSION) {
    *err = sqlite3_mprintf("litestream: SQLite %s is too old, 3.31 is the oldest that will do", sqlite3_libversion());
    return SQLITE_ERROR;
  }
  if (ls_vfs_exists(LS_NAME)) {
    *err = sqlite3_mprintf("litestream: a VFS of that name is registered already, maybe by another copy of this library");
    return SQLITE_ERROR;
  }
  keepLoaded(api);  // Node.js unloads an addon, and SQLite with it, when no thread uses it any more
  text = litestreamConfigure(&isDefault, (void**)&v);
  if (text) {
    *err = sqlite3_mprintf("litestream: %s", text);
    free(text);
    return SQLITE_ERROR;
  }
  v->forked = ls_fork_refuses;
  rc = ls_vfs_register(v, isDefault);
  if (rc == SQLITE_OK) rc = sqlite3_auto_extension((void (*)(void))connected);
  if (rc == SQLITE_OK) loaded = v;
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
  if (rc == SQLITE_OK) rc = ls_add_functions(db);
  // The VFS and Go's threads stay: SQLite must not unload the library.
  return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}

ENTRY int sqlite3_litestreamvfs_init(sqlite3 *db, char **err, const sqlite3_api_routines *api) {
  return sqlite3_litestream_init(db, err, api);
}

ENTRY int sqlite3_extension_init(sqlite3 *db, char **err, const sqlite3_api_routines *api) {
  return sqlite3_litestream_init(db, err, api);
}
