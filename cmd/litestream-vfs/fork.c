//go:build SQLITE3VFS_LOADABLE_EXT

// Which files a process opens that was forked from one that had loaded the extension.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "extension.h"

// The name that ls_set_bound was given. It is atomic, as a child may be forked at any
// time.
static char *bound;

void ls_set_bound(const char *path) {
  const char *old = __atomic_load_n(&bound, __ATOMIC_ACQUIRE);
  if (!old && *path) __atomic_store_n(&bound, strdup(path), __ATOMIC_RELEASE);  // it stays
}

static int exists(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0 || errno != ENOENT;
}

// isOurs reports, without Go, whether a file may be a replica's or its journal.
static int isOurs(const ls_vfs *v, const char *name, int flags) {
  const char *first = __atomic_load_n(&bound, __ATOMIC_ACQUIRE), *url = getenv("LITESTREAM_REPLICA_URL");
  int hasParams = !(flags & SQLITE_OPEN_MAIN_DB) || flags & SQLITE_OPEN_URI;
  if (!ls_vfs_is_default(v)) return 1;
  if (hasParams && (sqlite3_uri_parameter(name, "replica_url") || sqlite3_uri_parameter(name, "vfs"))) return 1;
  if (first) {
    size_t n = strlen(first);
    return strncmp(first, name, n) == 0 && (name[n] == 0 || name[n] == '-');
  }
  return flags & SQLITE_OPEN_MAIN_DB && url && *url && !exists(name);
}

const char *ls_fork_refuses(const ls_vfs *v, const char *name, int flags) {
  const char *local = getenv("LITESTREAM_LOCAL_FILES");
  if (isOurs(v, name, flags)) return LS_FORKED;
  if (!(flags & SQLITE_OPEN_MAIN_DB) || !local) return 0;
  if (strcmp(local, "none") == 0) return "litestream: LITESTREAM_LOCAL_FILES allows no local files";
  if (strcmp(local, "existing") == 0 && !exists(name)) return "litestream: LITESTREAM_LOCAL_FILES allows no new local files";
  return 0;
}
