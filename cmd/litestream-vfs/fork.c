//go:build SQLITE3VFS_LOADABLE_EXT

// What the extension does in a process that was forked from one that had loaded it.

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "vfs.h"

volatile int ls_forked;

// The name that ls_set_bound was given. It is atomic, as a child may be forked at any
// time.
static char *bound;

static void afterFork(void) { ls_forked = 1; }

// Go runs from when the library is loaded, before SQLite calls it.
__attribute__((constructor)) static void watchFork(void) { pthread_atfork(0, 0, afterFork); }

// After fork Go's threads do not exist, and a call to Go waits for ever.
int ls_is_forked(void) {
  static volatile int told;
  if (!ls_forked) return 0;
  if (!told) {
    static const char text[] = LS_FORKED "\n";
    told = 1;
    ssize_t ignored = write(2, text, sizeof text - 1);
    (void)ignored;
  }
  return 1;
}

const char *ls_bound(void) { return __atomic_load_n(&bound, __ATOMIC_ACQUIRE); }

void ls_set_bound(const char *path) {
  const char *old = __atomic_load_n(&bound, __ATOMIC_ACQUIRE);
  if (!old && *path) __atomic_store_n(&bound, strdup(path), __ATOMIC_RELEASE);  // it stays
}
