//go:build SQLITE3VFS_LOADABLE_EXT

// The environment of the host.

#include <stdlib.h>
#include <string.h>

#include "extension.h"

extern char **environ;

// ls_environment copies the pointers first, until it finds the same ones twice: another
// thread may be changing them, and no function of C protects from that.
char **ls_environment(void) {
  char **all = 0;
  int tries, i, size = 0, same = 0;
  for (tries = 0; tries < 100 && !same; tries++) {
    char **e = environ;
    same = all != 0;
    for (i = 0; e && e[i]; i++) {
      if (i + 1 >= size) { /* the last one stays NULL */
        char **more = realloc(all, (size + 64) * sizeof *all);
        if (!more) break;
        memset(more + size, 0, 64 * sizeof *all);
        all = more;
        size += 64;
      }
      if (all[i] != e[i]) same = 0;
      all[i] = e[i];
    }
    if (i < size && all[i]) {
      memset(all + i, 0, (size - i) * sizeof *all);
      same = 0;
    }
  }
  for (i = 0; all && all[i]; i++) all[i] = strdup(all[i]);
  return all;
}

// runtime/cgo calls these for os.Setenv. They do nothing, so that Go changes its own copy of
// the environment only: other threads may be reading the host's.
int setenv(const char *name, const char *value, int overwrite) { return (void)name, (void)value, (void)overwrite, 0; }
int unsetenv(const char *name) { return (void)name, 0; }
