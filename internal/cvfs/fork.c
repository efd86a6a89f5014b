//go:build cgo

// What happens in a process that was forked from one that had loaded this library.

#include "vfs.h"

volatile int ls_forked;

#ifdef _WIN32

int ls_is_forked(void) { return 0; }

#else

#include <pthread.h>
#include <unistd.h>

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

#endif
